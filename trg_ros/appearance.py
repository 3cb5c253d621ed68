"""What a face looks like, coarsely: the colours of its parts, whatever the light."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The part of a face's box that is looked at, brows to chin: left, top, right, bottom of its side.
_PART = (0.25, 0.25, 0.75, 0.85)
_COLUMNS, _ROWS = 2, 3
_MIN_PIXELS = 4
_DARK = 8.0  # grey values that say little about colour
#: Looks at one person, a second apart, mostly differ by less than this; looks at two people by more.
USUAL_DISTANCE = 0.1


def colours(image_bgr: NDArray[np.uint8], box: Array) -> Array | None:
    """(12,) log ratios of colours in 3 x 2 parts of a face; None if it is tiny or partly outside the image.

    :param image_bgr: (H, W, 3) uint8.
    :param box: (4,) left, top, right, bottom px of the face's TRG box.
    """
    if not np.isfinite(box).all():
        return None
    height, width = image_bgr.shape[:2]
    left, top, side_x, side_y = box[0], box[1], box[2] - box[0], box[3] - box[1]
    columns = [int(min(max(left + part * side_x, 0), width)) for part in (_PART[0], _PART[2])]
    rows = [int(min(max(top + part * side_y, 0), height)) for part in (_PART[1], _PART[3])]
    seen = (columns[1] - columns[0]) * (rows[1] - rows[0])
    whole = (_PART[2] - _PART[0]) * (_PART[3] - _PART[1]) * side_x * side_y
    if seen < 0.95 * whole or min(columns[1] - columns[0], rows[1] - rows[0]) < _MIN_PIXELS:
        return None
    part = image_bgr[rows[0] : rows[1], columns[0] : columns[1]]
    small = cv2.resize(part, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    log = np.log(small.reshape(-1, 3) + _DARK)
    return np.concatenate([log[:, 0] - log[:, 1], log[:, 2] - log[:, 1]])


def distance(one: Array, other: Array) -> float:
    """How different two looks (12,) are."""
    return math.sqrt(float(np.square(one - other).mean()))
