"""What a back end is and what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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


def joined(parts: Sequence[NetworkResult]) -> NetworkResult:
    """The heads of all parts, in order."""
    names = [entry.name for entry in dataclasses.fields(NetworkResult)]
    return NetworkResult(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class Backend(Protocol):
    """Runs one checkpoint on one device."""

    @property
    def name(self) -> str:
        """What runs it and how precisely, for people: "torch fp32", "openvino bf16", ..."""

    @property
    def device(self) -> str:
        """Where it runs, for people: "cpu", "cuda:0", ..."""

    def infer(self, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NetworkResult:
        """Estimate heads.

        :param crops_rgb: (N, S, S, 3) uint8, N >= 1.
        :param boxes: (N, 3) float32, centre x, centre y and side of each crop on the normalised image plane.
        """
