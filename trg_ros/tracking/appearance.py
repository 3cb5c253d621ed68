"""What somebody looks like, coarsely: the colours of face, hair and clothes, whatever the light."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Face, hair and what is worn below the chin: left, top, right, bottom of the face's TRG box, in its sides.
PARTS = np.array([[0.3, 0.3, 0.7, 0.8], [0.3, -0.05, 0.7, 0.08], [0.1, 1.12, 0.9, 1.35]])
#: The look of somebody who wasn't looked at.
UNSEEN = np.full((len(PARTS), 2), np.nan)
#: How much looks at one person differ, standard deviations of log ratios of colours in these parts.
_DEVIATIONS = np.array([[0.05], [0.07], [0.2]])
#: Looks at two people differ so many times as much.
_OTHERS = 3.0
#: The numbers of a look are not independent of each other: so much each one counts.
_INDEPENDENT = 0.5
_MOST = 16.0  # that a look can say
_MIN_PIXELS = 3
_MARGIN = 0.15  # of a box, on either side of the landmarks
_DARK = 8.0  # grey values that say little about colour


def colours(
    image_bgr: NDArray[np.uint8], box: Array, clear: Sequence[Sequence[float]] = PARTS.tolist()
) -> Array:
    """(3, 2) log ratios of blue and red to green in the parts of somebody; NaN where they aren't seen.

    :param image_bgr: (H, W, 3) uint8.
    :param box: (4,) left, top, right, bottom px of the face's TRG box.
    :param clear: (3, 4) what of each part nobody else hides, like ``PARTS``; NaN for nothing.
    """
    if all(part[0] != part[0] for part in clear):
        return UNSEEN
    seen = np.full((len(PARTS), 2), np.nan)
    left, top, right, bottom = box.tolist()
    height, width = image_bgr.shape[:2]
    margin = _MARGIN * (right - left)  # a face at the image's edge is rarely where it seems to be
    if not (left + margin >= 0 and right - margin <= width and math.isfinite(top + bottom)):
        return seen
    for part, ratios in zip(clear, seen, strict=True):
        if part[0] != part[0]:
            continue
        first, last = (int(left + edge * (right - left)) for edge in part[::2])
        low, high = (int(top + edge * (bottom - top)) for edge in part[1::2])
        inside = first >= 0 and low >= 0 and last <= width and high <= height
        if inside and min(last - first, high - low) >= _MIN_PIXELS:
            blue, green, red, _ = cv2.mean(image_bgr[low:high, first:last])
            middle = math.log(green + _DARK)
            ratios[:] = math.log(blue + _DARK) - middle, math.log(red + _DARK) - middle
    return seen


def unlikeness(one: Array, other: Array, astray: float = 1e-9) -> float:
    """-2 log of how much likelier it is that two looks (3, 2) show one person than that they show two.

    Negative for looks that are alike, 0 where nothing can be compared.

    :param astray: how often a number says nothing about who it is: the background instead of thin hair.
    """
    if one is UNSEEN or other is UNSEEN:
        return 0.0
    apart = ((one - other) / _DEVIATIONS).ravel()
    squares = apart[~np.isnan(apart)] ** 2
    if not len(squares):
        return 0.0
    alike = (1 - astray) * _OTHERS * np.exp((0.5 * _OTHERS**-2 - 0.5) * squares) + astray
    return min(-2 * _INDEPENDENT * float(np.log(alike).sum()), _MOST)
