"""The network in eager torch: no dependency beyond torch, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from trg_ros.backends.protocol import NetworkResult
from trg_ros.checkpoint import Checkpoint
from trg_ros.model.deploy import DeployedTRG


class TorchBackend:
    """Eager torch in float32: the deployed network, channels last, no autograd.

    :param threads: torch's threads for one operation. This is torch's global setting for the whole process;
        None leaves it as it is.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = device
        self._landmarks68 = checkpoint.topology.landmarks68
        network = DeployedTRG(checkpoint.build_model()).to(device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def name(self) -> str:
        """What runs the network and how precisely."""
        return "torch fp32"

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self._device)

    @torch.inference_mode()
    def infer(self, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NetworkResult:
        """As :meth:`Backend.infer`; all landmarks are computed at once."""
        crops, box = torch.from_numpy(crops_rgb).to(self._device), torch.from_numpy(boxes).to(self._device)
        with without_tf32(self._device):
            output = self._network(crops, box)
        landmarks, rotation, translation, landmarks68_crop = (part.cpu().numpy() for part in output)
        landmarks68 = landmarks[:, self._landmarks68]
        return NetworkResult(
            landmarks68, rotation, translation, landmarks68_crop, landmarks.reshape(len(landmarks), -1)
        )


@contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Meanwhile float32 is float32 on a GPU, where torch rounds what convolutions read to 11 bits otherwise.

    The settings are torch's for the whole process, so they are put back. Who has set them in the way that is
    new in torch 2.9 keeps them as they are: torch refuses to mix both ways.
    """
    if device.type != "cuda":
        yield
        return
    try:
        before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        yield
        return
    try:
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])
