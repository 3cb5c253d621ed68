// A CUDA driver for the CPU, as far as the renderer's kernels need one: one thread after another.
// Compiled with -DKERNELS="path of the .cu file".

#include <cmath>
#include <cstring>
#include <utility>

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim;

#define __global__
#define __device__

static long long atomicMin(long long *place, long long value) {
    long long old = *place;
    if (value < old) *place = value;
    return old;
}

static int __float_as_int(float value) {
    int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

#include KERNELS

template <typename... Arguments, std::size_t... I>
static void call(void (*kernel)(Arguments...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<Arguments *>(arguments[I])...);
}

template <typename... Arguments>
static void run(void (*kernel)(Arguments...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<Arguments...>());
}

typedef void (*Runner)(void **);
static void run_draw_opaque(void **arguments) { run(draw_opaque, arguments); }
static void run_draw_pixels(void **arguments) { run(draw_pixels, arguments); }

extern "C" int cuModuleLoadData(void **module, const void *image) {
    *module = nullptr;
    return std::strcmp(static_cast<const char *>(image), "twin") ? 200 : 0;
}

extern "C" int cuModuleGetFunction(Runner *function, void *, const char *name) {
    *function = !std::strcmp(name, "draw_opaque")   ? run_draw_opaque
                : !std::strcmp(name, "draw_pixels") ? run_draw_pixels
                                                    : nullptr;
    return *function ? 0 : 500;
}

extern "C" int cuGetErrorString(int status, const char **message) {
    *message = status == 200 ? "device kernel image is invalid" : "named symbol not found";
    return 0;
}

extern "C" int cuLaunchKernel(
    Runner function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
    unsigned block_z, unsigned, void *, void **arguments, void **) {
    blockDim = {block_x, block_y, block_z};
    for (blockIdx.z = 0; blockIdx.z < grid_z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid_y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid_x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < block_z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < block_y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < block_x; ++threadIdx.x) function(arguments);
    return 0;
}
