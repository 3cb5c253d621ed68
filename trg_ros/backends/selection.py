"""Which device and which back end."""

from __future__ import annotations

import logging

import torch

from trg_ros.backends.openvino_backend import OpenVINOBackend, openvino_installed
from trg_ros.backends.protocol import Backend
from trg_ros.backends.torch_backend import TorchBackend
from trg_ros.checkpoint import Checkpoint
from trg_ros.errors import DeviceError, InputError

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "openvino", "openvino-bf16")


def resolve_device(device: str) -> torch.device:
    """A device that exists, from "auto", "cpu", "cuda" or "cuda:N"; auto logs whether it found a GPU.

    :raises DeviceError: for a GPU that isn't there, or an unknown name.
    """
    if device == "auto":
        chosen = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        logger.info(
            "device auto: running on %s", chosen if chosen.type == "cuda" else "the CPU, torch sees no GPU"
        )
        return chosen
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {device!r} is not supported: use auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= count:
            raise DeviceError(
                f"device {device!r} was asked for, but torch {torch.__version__} sees {count or 'no'} CUDA "
                f"GPU{'s' if count > 1 else ''}: use device 'cpu' or 'auto', or install a driver and a torch "
                "with CUDA"
            )
        return torch.device("cuda", chosen.index or 0)
    return chosen


def make_backend(
    checkpoint: Checkpoint, device: str = "auto", backend: str = "auto", threads: int | None = None
) -> Backend:
    """The back end for a checkpoint.

    :param backend: one of ``BACKENDS``. "auto": on a GPU torch; on the CPU OpenVINO in fp32 if it is
        installed, else torch. "openvino-bf16" has to be asked for: it is faster, but turns some heads by a
        degree.
    :param threads: CPU threads of the network; None: the back end's own choice.
    :raises DeviceError: see :func:`resolve_device`; or for a back end that isn't there or can't run there.
    :raises InputError: for an unknown back end, or a number of threads below 1.
    """
    if backend not in BACKENDS:
        names = f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}"
        raise InputError(f"backend {backend!r} is unknown: use {names}")
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}: it must be at least 1")
    chosen = resolve_device(device)
    if backend == "torch" or (backend == "auto" and (chosen.type != "cpu" or not openvino_installed())):
        return TorchBackend(checkpoint, chosen, threads)
    if chosen.type != "cpu":
        raise DeviceError(
            f"backend {backend!r} runs on the CPU only: use device 'cpu', or backend torch or auto"
        )
    try:
        return OpenVINOBackend(checkpoint, "bf16" if backend == "openvino-bf16" else "fp32", threads)
    except DeviceError as error:
        if backend != "auto":
            raise
        logger.warning("backend auto: %s; running in torch", error)
        return TorchBackend(checkpoint, chosen, threads)
