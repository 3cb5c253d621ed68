"""CUDA C++ compiled at run time, with what a torch for CUDA brings along: NVRTC and the driver.

Both are called through their C interfaces, which have been stable for ten years. The other ways need more:
`torch.utils.cpp_extension` a CUDA toolkit and a host compiler, torch's own (private) kernel compiler a
toolkit's headers, numba's CUDA target a package of its own. The kernels themselves stand in a ``.cu`` file
that any C++ compiler can compile too, which is how they are tested where there is no GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from trg_ros.errors import DeviceError

Dimensions = tuple[int, int, int]


class Kernels:
    """The kernels of one compiled module, in the CUDA context that is current.

    :param driver: the CUDA driver's library. :param binary: what :func:`compile_cuda` returned.
    """

    def __init__(self, driver: ctypes.CDLL, binary: bytes) -> None:
        self._driver = driver
        self._module = ctypes.c_void_p()
        self._functions: dict[str, ctypes.c_void_p] = {}
        self._check(driver.cuModuleLoadData(ctypes.byref(self._module), binary), "load the kernels")

    def launch(self, name: str, grid: Dimensions, block: Dimensions, arguments: list[Tensor | int]) -> None:
        """Start a kernel on torch's current stream; nothing waits for it.

        :param arguments: contiguous tensors of one device, which arrive as pointers, and 32-bit integers.
        """
        first = next(value for value in arguments if isinstance(value, Tensor))
        stream = torch.cuda.current_stream(first.device).cuda_stream if first.is_cuda else 0
        values = [_as_c(value) for value in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        sizes = [ctypes.c_uint(size) for size in (*grid, *block, 0)]
        with torch.cuda.device_of(first):
            status = self._driver.cuLaunchKernel(
                self._function(name), *sizes, ctypes.c_void_p(stream), pointers, None
            )
        self._check(status, f"start the kernel {name}")

    def _function(self, name: str) -> ctypes.c_void_p:
        if name not in self._functions:
            function = ctypes.c_void_p()
            status = self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode())
            self._check(status, f"find the kernel {name}")
            self._functions[name] = function
        return self._functions[name]

    def _check(self, status: int, action: str) -> None:
        if status:
            message = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(message))
            reason = message.value.decode() if message.value else "an unknown error"
            raise DeviceError(f"the GPU couldn't {action}: {reason} (CUDA error {status})")


def load_kernels(source: Path, device: torch.device) -> Kernels:
    """Compile a ``.cu`` file for a CUDA device (about a second) and load it there.

    :raises DeviceError: when NVRTC is missing, doesn't know the GPU, or the driver fails.
    """
    major, minor = torch.cuda.get_device_capability(device)
    binary = compile_cuda(find_nvrtc(), source.read_text(encoding="utf-8"), f"sm_{major}{minor}")
    with torch.cuda.device(device):
        torch.zeros(1, device=device)  # makes torch's context the current one
        return Kernels(ctypes.CDLL("libcuda.so.1"), binary)


def compile_cuda(nvrtc: ctypes.CDLL, source: str, architecture: str) -> bytes:
    """Machine code (a cubin) of CUDA C++ without includes for an architecture like "sm_90"; needs no GPU."""
    program = ctypes.c_void_p()
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture={architecture}".encode())
    text, name = source.encode(), b"kernels.cu"
    _check_nvrtc(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if status:
            log = _read(nvrtc, "ProgramLog", program).decode(errors="replace").strip("\0\n ")
            raise DeviceError(
                f"NVRTC can't compile the renderer for {architecture}: {log or 'no reason given'}"
            )
        return _read(nvrtc, "CUBIN", program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def find_nvrtc() -> ctypes.CDLL:
    """The NVRTC library that torch uses.

    :raises DeviceError: when there is none, as with a torch without CUDA.
    """
    wheels = [*(Path(torch.__file__).parent.parent / "nvidia").glob("*/lib")]
    for folder in wheels:  # NVRTC looks for this one by name when it compiles, not beside itself
        for path in folder.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(path))
    for name in _nvrtc_names(wheels):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "nvrtcCompileProgram"):
            return library
    raise DeviceError(
        f"no NVRTC library found for torch {torch.__version__}: install a torch with CUDA "
        "(pip install nvidia-cuda-nvrtc brings NVRTC alone), or render with device 'cpu'"
    )


def _nvrtc_names(wheels: list[Path]) -> Iterator[str]:
    """Where it may be: behind what torch loads it by, on the loader's path, in wheels beside torch's."""
    yield str(Path(torch.__file__).parent / "lib" / "libcaffe2_nvrtc.so")
    if torch.version.cuda:
        yield f"libnvrtc.so.{torch.version.cuda.split('.')[0]}"
    for folder in wheels:
        yield from (str(path) for path in folder.glob("libnvrtc.so.*"))


def _read(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check_nvrtc(nvrtc, nvrtc[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check_nvrtc(nvrtc, nvrtc[f"nvrtcGet{what}"](program, buffer))
    return buffer.raw


def _check_nvrtc(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise DeviceError(f"NVRTC failed: {nvrtc.nvrtcGetErrorString(status).decode()}")


def _as_c(value: Tensor | int) -> ctypes.c_void_p | ctypes.c_int:
    if isinstance(value, int):
        return ctypes.c_int(value)
    return ctypes.c_void_p(value.data_ptr())
