"""What the network says of windows of an image, how sure it is, and where it asks to look next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.backends.protocol import NetworkResult
from trg_ros.camera import CameraModel
from trg_ros.checks import checked_boxes
from trg_ros.crop import CropWindows
from trg_ros.errors import InputError
from trg_ros.opinions import Opinions, consistency

Array = NDArray[np.float64]

#: A crop implied by the landmarks is taken for the next look only within these bounds of the last crop.
_MAX_SIZE_RATIO, _MAX_CENTER_SHIFT = 3.0, 1.0

NO_RESULT = NetworkResult(
    np.zeros((0, 68, 3), np.float32),
    np.zeros((0, 3, 3), np.float32),
    np.zeros((0, 3), np.float32),
    np.zeros((0, 68, 2), np.float32),
    np.zeros((0, 0), np.float32),
)


@dataclass(frozen=True)
class WindowEstimates:
    """The network's view of N windows of one image, in their virtual cameras.

    :param implied: the windows that the estimated landmarks ask for: where to look next.
    :param consistency: (N,) 0..1; see :func:`trg_ros.opinions.consistency`.
    :param opinions: what both follow from.
    """

    windows: CropWindows
    result: NetworkResult
    implied: CropWindows
    consistency: Array
    opinions: Opinions

    @classmethod
    def judged(
        cls, windows: CropWindows, result: NetworkResult, usual_disagreement: float
    ) -> WindowEstimates:
        """What the network's two opinions on the 68 landmarks say together.

        :param usual_disagreement: as for :func:`trg_ros.opinions.consistency`.
        """
        opinions = Opinions.of(result, windows)
        sure = consistency(opinions.mean_distance, usual_disagreement)
        return cls(windows, result, opinions.implied_windows(result, windows), sure, opinions)

    @property
    def plausible(self) -> NDArray[np.bool_]:
        """(N,) whether landmarks are where a face could have them, so that another look makes sense."""
        implied, windows = self.implied, self.windows
        ratio = np.maximum(implied.size / windows.size, windows.size / implied.size)
        shift = np.linalg.norm(implied.center_in(windows) - windows.center, axis=1) / windows.size
        return implied.valid & (ratio < _MAX_SIZE_RATIO) & (shift < _MAX_CENTER_SHIFT)


def windows_of_boxes(camera: CameraModel, boxes: ArrayLike, turn: bool = True) -> CropWindows:
    """Windows of given boxes. :raises InputError: for a box that has no place in the camera's image."""
    boxes = checked_boxes(boxes)
    windows = CropWindows.from_boxes(camera, boxes, turn)
    for index in np.flatnonzero(~windows.valid):
        raise InputError(
            f"box {index} is {boxes[index].tolist()}: the lens of this camera sees nothing there, or nothing "
            "that large (left, top, right, bottom in pixels)"
        )
    size = np.array([camera.width, camera.height])
    for index in np.flatnonzero(((boxes[:, :2] >= size) | (boxes[:, 2:] <= -1)).any(axis=1)):
        raise InputError(
            f"box {index} is {boxes[index].tolist()}: it lies outside the {camera.width}x{camera.height} "
            "image (left, top, right, bottom in pixels)"
        )
    return windows
