"""The finder's network in torch, where there is no OpenVINO."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from trg_ros.finder.weights import FinderWeights


class TorchRunner:
    """On the CPU, with as many threads as torch uses."""

    def __init__(self, weights: FinderWeights) -> None:
        self._network = weights.build_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB, H and W aligned -> (N, 14, H/8, W/8)."""
        return self._network(torch.from_numpy(images)).numpy()
