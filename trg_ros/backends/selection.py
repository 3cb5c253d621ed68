"""Which device and which back end."""

from __future__ import annotations

import ctypes
import logging
import re
from pathlib import Path

from trg_ros.backends.openvino_backend import OpenVINOBackend, has_vnni, openvino_installed
from trg_ros.backends.protocol import Backend
from trg_ros.checkpoint import Checkpoint
from trg_ros.checks import checked_count
from trg_ros.errors import DeviceError, InputError

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "openvino", "openvino-int8", "openvino-bf16", "cuda")


#: The libraries of the drivers of GPUs that torch calls "cuda": NVIDIA's, and AMD's kernel interface.
_CUDA_DRIVERS, _ROCM_DEVICE = ("libcuda.so.1", "nvcuda.dll"), Path("/dev/kfd")


def resolve_device(device: str) -> str:
    """A device that exists, "cpu" or "cuda:N", from "auto", "cpu", "cuda" or "cuda:N"; auto logs its choice.

    torch is imported only where there is a GPU's driver, or a GPU was asked for.

    :raises DeviceError: for a GPU that isn't there, or an unknown name.
    """
    if device == "cpu":
        return device
    if device == "auto":
        chosen = "cuda:0" if gpu_driver_installed() and _gpus() else "cpu"
        logger.info("device auto: running on %s", "the CPU, there is no GPU" if chosen == "cpu" else chosen)
        return chosen
    named = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not named:
        raise DeviceError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:N")
    index, count = int(named[1] or 0), _gpus()
    if index >= count:
        import torch

        raise DeviceError(
            f"device {device!r} was asked for, but torch {torch.__version__} sees {count or 'no'} CUDA "
            f"GPU{'s' if count > 1 else ''}: use device 'cpu' or 'auto', or install a driver and a torch "
            "with CUDA"
        )
    return f"cuda:{index}"


def gpu_driver_installed() -> bool:
    """Whether it makes sense to ask torch for GPUs; a machine without a driver has none."""
    for name in _CUDA_DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return _ROCM_DEVICE.exists()


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def make_backend(
    checkpoint: Checkpoint, device: str = "auto", backend: str = "auto", threads: int | None = None
) -> Backend:
    """The back end for a checkpoint.

    :param backend: one of ``BACKENDS``. "auto": on a GPU "cuda"; on the CPU OpenVINO if it is installed, else
        torch; in int8 if weights and CPU are fit for it, else in fp32. "openvino" is always fp32.
        "openvino-bf16" has to be asked for: slower than int8, and it turns some heads by a degree.
    :param threads: CPU threads of the network; None: the back end's own choice.
    :raises DeviceError: see :func:`resolve_device`; or for a back end that isn't there or can't run there.
    :raises InputError: for an unknown back end, or a number of threads below 1.
    """
    _check(backend, threads)
    chosen = resolve_device(device)
    if backend == "cuda" or (backend == "auto" and chosen != "cpu"):
        try:
            return _cuda_backend(checkpoint, chosen, threads)
        except DeviceError as error:
            if (device, backend) != ("auto", "auto"):
                raise
            logger.warning("device auto: %s; running on the CPU", error)
            chosen = "cpu"
    if backend == "torch" or (backend == "auto" and not openvino_installed()):
        return _torch_backend(checkpoint, chosen, threads)
    if chosen != "cpu":
        raise DeviceError(
            f"backend {backend!r} runs on the CPU only: use device 'cpu', or backend cuda, torch or auto"
        )
    try:
        return OpenVINOBackend(checkpoint, _precision(checkpoint, backend), threads)
    except DeviceError as error:
        if backend != "auto":
            raise
        logger.warning("backend auto: %s; running in torch", error)
        return _torch_backend(checkpoint, chosen, threads)


def _check(backend: str, threads: int | None) -> None:
    if backend not in BACKENDS:
        names = f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}"
        raise InputError(f"backend {backend!r} is unknown: use {names}")
    if threads is not None:
        checked_count("threads", threads, least=1)


def _precision(checkpoint: Checkpoint, backend: str) -> str:
    if backend == "auto":
        return "int8" if checkpoint.activation_peaks and has_vnni() else "fp32"
    return backend.partition("-")[2] or "fp32"


def _torch_backend(checkpoint: Checkpoint, device: str, threads: int | None) -> Backend:
    import torch

    from trg_ros.backends.torch_backend import TorchBackend

    return TorchBackend(checkpoint, torch.device(device), threads)


def _cuda_backend(checkpoint: Checkpoint, device: str, threads: int | None) -> Backend:
    if device == "cpu":
        raise DeviceError("backend 'cuda' runs on a GPU only: use device 'cuda', or backend auto")
    import torch

    from trg_ros.backends.cuda_backend import make_cuda_backend

    return make_cuda_backend(checkpoint, torch.device(device), threads)
