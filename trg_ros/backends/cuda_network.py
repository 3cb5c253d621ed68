"""The network as a GPU runs it: maps in half precision, geometry in single, one answer for all faces."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trg_ros.backends.protocol import Decoder, NetworkResult
from trg_ros.model.deploy import DeployedTRG

#: What a row of the answer holds in front of the code of the head's shape; as in `NetworkResult`.
_SHAPES = ((68, 3), (3, 3), (3,), (68, 2))
_BOUNDS = [0, *accumulate(int(np.prod(shape)) for shape in _SHAPES)]


class PackedNetwork(nn.Module):
    """Crops (N, S, S, 3) uint8 RGB and boxes (N, 3) -> one row (N, L) float32 for each head.

    :param half: feature maps in float16. What is sensitive stays in float32: the soft-argmax, where maps are
        sampled and what is made of the samples, rotations, translations, projections, landmarks.
    """

    def __init__(self, deployed: DeployedTRG, half: bool) -> None:
        super().__init__()
        self.features, self.refinement = deployed.features, deployed.refinement
        if half:
            self.features.backbone = _Half(self.features.backbone)  # type: ignore[assignment]
            self.features.upsamplers.half()
            self.features.heatmap_head.half()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, crops_rgb: Tensor, boxes: Tensor) -> Tensor:
        landmarks68_crop, *maps = self.features(crops_rgb)
        landmarks68, rotation, translation, code = self.refinement(boxes, *maps)
        parts = (landmarks68, rotation, translation, landmarks68_crop, code)
        return torch.cat([part.flatten(1) for part in parts], dim=1)


class _Half(nn.Module):
    """A backbone in half precision, whatever it is given."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers.half()

    def forward(self, x: Tensor) -> list[Tensor]:
        return cast(list[Tensor], self.layers(x.half()))


def unpacked(rows: NDArray[np.float32], decode: Decoder) -> NetworkResult:
    """What rows (N, L) of a `PackedNetwork` say."""
    parts = [
        rows[:, first:last].reshape(len(rows), *shape)
        for (first, last), shape in zip(pairwise(_BOUNDS), _SHAPES, strict=True)
    ]
    return NetworkResult(parts[0], parts[1], parts[2], parts[3], rows[:, _BOUNDS[-1] :], decode)
