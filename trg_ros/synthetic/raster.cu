// Drawing a batch of heads: the nearest opaque triangle of every pixel, then its colour under what is translucent.
//
// All heads have the same triangles: first `opaque` ones, of which `masked` ones belong to the head itself, may
// be left out and are not seen from behind; then eyelashes up to `lashes`, then lenses. Heads differ in their points
// ([head][vertex][x, y, depth], pixel centres at +0.5) and colours ([head][vertex][linear RGB]). A piece that a head
// lacks lies nearer than NEAR. Compiled at run time by NVRTC, and for the tests by a C++ compiler: no header, no
// feature of newer CUDA.

#define NEAR 0.03f
#define FAR 1e9f
#define SLACK -1e-6f
#define EMPTY 0x7fffffffffffffffll

struct Triangle {
    float x0, y0, z0, x1, y1, z1, x2, y2, z2, area;
};

__device__ static Triangle corners(const float *points, const int *indices) {
    const float *a = points + 3ll * indices[0], *b = points + 3ll * indices[1], *c = points + 3ll * indices[2];
    Triangle t = {a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2], 0.0f};
    t.area = (t.x1 - t.x0) * (t.y2 - t.y0) - (t.x2 - t.x0) * (t.y1 - t.y0);
    return t;
}

__device__ static bool in_front(const Triangle &t) {
    return t.z0 >= NEAR && t.z1 >= NEAR && t.z2 >= NEAR && t.area != 0.0f;
}

// Whether a pixel's centre is inside, its three weights and its depth.
__device__ static bool inside(const Triangle &t, int column, int row, float *weights, float *depth) {
    float x = column + 0.5f, y = row + 0.5f, inverse = 1.0f / t.area;
    weights[0] = ((t.x1 - x) * (t.y2 - y) - (t.x2 - x) * (t.y1 - y)) * inverse;
    weights[1] = ((t.x2 - x) * (t.y0 - y) - (t.x0 - x) * (t.y2 - y)) * inverse;
    weights[2] = 1.0f - weights[0] - weights[1];
    *depth = weights[0] * t.z0 + weights[1] * t.z1 + weights[2] * t.z2;
    return weights[0] >= SLACK && weights[1] >= SLACK && weights[2] >= SLACK;
}

__device__ static float mixed(const float *colors, const int *indices, const float *weights, int channel) {
    return weights[0] * colors[3ll * indices[0] + channel] + weights[1] * colors[3ll * indices[1] + channel] +
           weights[2] * colors[3ll * indices[2] + channel];
}

// nearest: [head][row][column], depth in the upper half, the triangle in the lower one; begins EMPTY. Of triangles at
// one depth the first wins, whatever order they come in: positive floats are ordered as their bits are.
// A block's threads take triangles, blockIdx.y is the head.
extern "C" __global__ void draw_opaque(
    const float *points, const int *triangles, const unsigned char *drawn, long long *nearest,
    int vertices, int opaque, int masked, int pixels) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    long long head = blockIdx.y;
    if (k >= opaque || (k < masked && !drawn[head * masked + k])) return;
    Triangle t = corners(points + head * vertices * 3, triangles + 3 * k);
    if (!in_front(t) || (k < masked && t.area > 0.0f)) return;
    float last = pixels - 1.0f;
    int left = (int)ceilf(fmaxf(0.5f, fminf(t.x0, fminf(t.x1, t.x2))) - 0.5f);
    int right = (int)floorf(fminf(last + 0.5f, fmaxf(t.x0, fmaxf(t.x1, t.x2))) - 0.5f);
    int top = (int)ceilf(fmaxf(0.5f, fminf(t.y0, fminf(t.y1, t.y2))) - 0.5f);
    int bottom = (int)floorf(fminf(last + 0.5f, fmaxf(t.y0, fmaxf(t.y1, t.y2))) - 0.5f);
    for (int row = top; row <= bottom; ++row) {
        for (int column = left; column <= right; ++column) {
            float weights[3], depth;
            if (!inside(t, column, row, weights, &depth) || depth >= FAR) continue;
            long long key = ((long long)__float_as_int(depth) << 32) | k;
            atomicMin(nearest + (head * pixels + row) * pixels + column, key);
        }
    }
}

// image: [head][red, green, blue, coverage][row][column], written; the colours are not premultiplied. opacities:
// [head][eyelashes, lenses]. bounds: [head][left, top, right, bottom] px around all that is translucent.
// blockIdx.z is the head, the others make a thread per pixel.
extern "C" __global__ void draw_pixels(
    const float *points, const float *colors, const int *triangles, const long long *nearest,
    const float *opacities, const float *bounds, float *image,
    int vertices, int opaque, int lashes, int all, int pixels) {
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    long long head = blockIdx.z;
    if (column >= pixels || row >= pixels) return;
    points += head * vertices * 3;
    colors += head * vertices * 3;
    float color[3] = {0.0f, 0.0f, 0.0f}, coverage = 0.0f, limit = FAR, weights[3], depth;
    long long key = nearest[(head * pixels + row) * pixels + column];
    if (key != EMPTY) {
        const int *indices = triangles + 3 * (int)(key & 0x7fffffff);
        inside(corners(points, indices), column, row, weights, &depth);
        limit = __int_as_float((int)(key >> 32));
        coverage = 1.0f;
        for (int channel = 0; channel < 3; ++channel) color[channel] = mixed(colors, indices, weights, channel);
    }
    const float *around = bounds + 4 * head;
    float x = column + 0.5f, y = row + 0.5f;
    if (x >= around[0] && y >= around[1] && x <= around[2] && y <= around[3]) {
        for (int k = opaque; k < all; ++k) {
            const int *indices = triangles + 3 * k;
            Triangle t = corners(points, indices);
            if (x < fminf(t.x0, fminf(t.x1, t.x2)) || x > fmaxf(t.x0, fmaxf(t.x1, t.x2)) ||
                y < fminf(t.y0, fminf(t.y1, t.y2)) || y > fmaxf(t.y0, fmaxf(t.y1, t.y2))) continue;
            if (!in_front(t) || !inside(t, column, row, weights, &depth) || depth >= limit) continue;
            float opacity = opacities[2 * head + (k >= lashes)];
            for (int channel = 0; channel < 3; ++channel) {
                float value = mixed(colors, indices, weights, channel);
                color[channel] = opacity * value + (1.0f - opacity) * color[channel];
            }
            coverage = opacity + (1.0f - opacity) * coverage;
        }
    }
    long long plane = (long long)pixels * pixels;
    float *out = image + head * 4 * plane + (long long)row * pixels + column;
    for (int channel = 0; channel < 3; ++channel) out[channel * plane] = color[channel];
    out[3 * plane] = coverage;
}
