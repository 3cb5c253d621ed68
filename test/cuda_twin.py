"""The renderer's CUDA kernels on the CPU: the same source, compiled by the machine's C++ compiler."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from trg_ros.synthetic.cuda_kernels import Kernels
from trg_ros.synthetic.cuda_painter import KERNELS

BINARY = b"twin"  # what the twin of the driver takes for a compiled module
_SOURCE = Path(__file__).parent / "data" / "cuda_twin.cpp"


def build_twin(folder: Path) -> ctypes.CDLL:
    """The kernels and as much of a CUDA driver as they need; skips the test without a compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs g++ or clang++")
    library = folder / "cuda_twin.so"
    options = ["-O2", "-std=c++17", "-shared", "-fPIC", f'-DKERNELS="{KERNELS}"']
    subprocess.run([compiler, *options, "-o", str(library), str(_SOURCE)], check=True)
    return ctypes.CDLL(str(library))


def twin_kernels(driver: ctypes.CDLL) -> Kernels:
    return Kernels(driver, BINARY)
