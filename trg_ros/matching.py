"""Which face that was found belongs to which head that is known, and where it is by now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from trg_ros.crop import CropWindows, shortest_turn

#: A face that was found belongs to a head whose window it overlaps at least this much (intersection over
#: union).
_MATCH_OVERLAP = 0.25


def match_windows(known: Sequence[CropWindows], found: CropWindows) -> list[int | None]:
    """For each known window (of one) the index of the found one that is its face, so that all overlap most.

    None without one.
    """
    partner: list[int | None] = [None] * len(known)
    if not known or not len(found):
        return partner
    repeated = np.zeros(len(found), dtype=np.intp)
    overlap = np.array([window[repeated].overlap(found) for window in known])
    for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
        if overlap[row, column] >= _MATCH_OVERLAP:
            partner[row] = int(column)
    return partner


def carried(window: CropWindows, before: CropWindows, now: CropWindows) -> CropWindows:
    """A window (one) of an older image where it is by now, if it goes along with a head's from ``before`` to
    ``now``: turned as the ray to the head has turned, grown as the head's window has grown."""
    rays = [one.rays(one.center) for one in (before, now)]
    before_turn, now_turn = (shortest_turn(ray / np.linalg.norm(ray, axis=1, keepdims=True)) for ray in rays)
    turn = now_turn @ before_turn.transpose(0, 2, 1)
    return CropWindows(window.center, window.size * now.size / before.size, turn @ window.camera_R_virtual)
