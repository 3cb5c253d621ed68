"""What runs the network: one small protocol, so that other runtimes can take eager torch's place."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from trg_ros.checkpoint import Checkpoint
from trg_ros.errors import DeviceError, InputError
from trg_ros.model.deploy import DeployedTRG

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "torch")


@dataclass(frozen=True)
class NetworkResult:
    """What the network says about N crops; metres, in the camera that the boxes were given in.

    :param landmarks_head: (N, V, 3) float32, head frame.
    :param rotation: (N, 3, 3) float32, head to camera.
    :param translation: (N, 3) float32, the head frame's origin in the camera frame.
    :param landmarks68_crop: (N, 68, 2) float32, x, y in [-1, 1] over the crop, of the network's 2D head: a
        second opinion that doesn't know the first.
    """

    landmarks_head: NDArray[np.float32]
    rotation: NDArray[np.float32]
    translation: NDArray[np.float32]
    landmarks68_crop: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.translation)

    def with_rows(self, index: NDArray, rows: NetworkResult) -> NetworkResult:
        """A copy in which the heads at ``index`` are those of ``rows``."""
        copies = {}
        for entry in dataclasses.fields(self):
            copies[entry.name] = getattr(self, entry.name).copy()
            copies[entry.name][index] = getattr(rows, entry.name)
        return NetworkResult(**copies)


class Backend(Protocol):
    """Runs one checkpoint on one device."""

    @property
    def device(self) -> str:
        """Where it runs, for people: "cpu", "cuda:0", ..."""

    def infer(self, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NetworkResult:
        """Estimate heads.

        :param crops_rgb: (N, S, S, 3) uint8, N >= 1.
        :param boxes: (N, 3) float32, centre x, centre y and side of each crop on the normalised image plane.
        """


class TorchBackend:
    """Eager torch on the deployed form of the network, channels last, no autograd.

    :param threads: torch's threads for one operation. This is torch's global setting for the whole process;
        None leaves it as it is.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, threads: int | None = None) -> None:
        if threads is not None:
            if threads < 1:
                raise InputError(f"threads is {threads}: it must be at least 1")
            torch.set_num_threads(threads)
        self._device = device
        network = DeployedTRG(checkpoint.build_model()).to(device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> str:
        return str(self._device)

    @torch.inference_mode()
    def infer(self, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NetworkResult:
        crops, box = torch.from_numpy(crops_rgb).to(self._device), torch.from_numpy(boxes).to(self._device)
        return NetworkResult(*(part.cpu().numpy() for part in self._network(crops, box)))


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
    """The backend for a checkpoint.

    :raises DeviceError: see :func:`resolve_device`.
    :raises InputError: for an unknown backend.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is unknown: use {' or '.join(BACKENDS)}")
    return TorchBackend(checkpoint, resolve_device(device), threads)
