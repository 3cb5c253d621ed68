"""What a back end is and what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from trg_ros.crop import CropWindows

Decoder = Callable[[NDArray[np.float32]], NDArray[np.float32]]
#: (N, S, S, 3) uint8 RGB: an array, or a torch tensor where the back end runs that has cut them.
Crops: TypeAlias = Any
Cutter: TypeAlias = "Callable[[CropWindows], Crops]"


@dataclass(frozen=True)
class NetworkResult:
    """What the network says about N crops; metres, in the camera that the boxes were given in.

    :param landmarks68_head: (N, 68, 3) float32, the Multi-PIE landmarks in the head frame.
    :param rotation: (N, 3, 3) float32, head to camera.
    :param translation: (N, 3) float32, the head frame's origin in the camera frame.
    :param landmarks68_crop: (N, 68, 2) float32, x, y in [-1, 1] over the crop, of the network's 2D head: a
        second opinion that doesn't know the first.
    :param shape_code: (N, C) float32: what all landmarks are made of.
    :param decode: (N, C) -> (N, V, 3) float32, head frame; None: ``shape_code`` holds them as they are.
    """

    landmarks68_head: NDArray[np.float32]
    rotation: NDArray[np.float32]
    translation: NDArray[np.float32]
    landmarks68_crop: NDArray[np.float32]
    shape_code: NDArray[np.float32]
    decode: Decoder | None = None

    def __len__(self) -> int:
        return len(self.translation)

    def __getitem__(self, index: NDArray | slice) -> NetworkResult:
        rows: dict[str, Any] = {name: getattr(self, name)[index] for name in _ARRAYS}
        return dataclasses.replace(self, **rows)

    @property
    def landmarks_head(self) -> NDArray[np.float32]:
        """(N, V, 3) all landmarks, head frame; computed now."""
        return self._decoded(self.shape_code)

    def landmarks_of(self, index: int) -> NDArray[np.float32]:
        """(V, 3) all landmarks of one head, head frame; computed now."""
        return self._decoded(self.shape_code[index : index + 1])[0]

    def _decoded(self, code: NDArray[np.float32]) -> NDArray[np.float32]:
        return code.reshape(len(code), -1, 3) if self.decode is None else self.decode(code)

    def with_rows(self, index: NDArray, rows: NetworkResult) -> NetworkResult:
        """A copy in which the heads at ``index`` are those of ``rows``."""
        copies: dict[str, Any] = {name: getattr(self, name).copy() for name in _ARRAYS}
        for name, array in copies.items():
            array[index] = getattr(rows, name)
        return dataclasses.replace(self, **copies)


_ARRAYS = [entry.name for entry in dataclasses.fields(NetworkResult) if entry.name != "decode"]


def joined(parts: Sequence[NetworkResult]) -> NetworkResult:
    """The heads of all parts, which are answers of one back end, in order."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS
    }
    return dataclasses.replace(parts[0], **arrays)


class Backend(Protocol):
    """Runs one checkpoint on one device.

    A back end may cut the crops itself, where it runs; then it has a method ``cutter(image_bgr, camera)``,
    which takes an image (H, W, 3) uint8 and returns a :data:`Cutter` of its windows.
    """

    @property
    def name(self) -> str:
        """What runs it and how precisely, for people: "torch fp32", "openvino bf16", ..."""

    @property
    def device(self) -> str:
        """Where it runs, for people: "cpu", "cuda:0", ..."""

    def infer(self, crops_rgb: Crops, boxes: NDArray[np.float32]) -> NetworkResult:
        """Estimate heads.

        :param crops_rgb: (N, S, S, 3) uint8, N >= 1; an array, or what the back end itself has cut.
        :param boxes: (N, 3) float32, centre x, centre y and side of each crop on the normalised image plane.
        """
