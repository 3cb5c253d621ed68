"""Where to look: which face that was found belongs to which head that is known, and where it is by now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trg_ros.crop import CropWindows
from trg_ros.geometry import shortest_turn
from trg_ros.tracking.assignment import cheapest_pairs
from trg_ros.tracking.searching import Finding
from trg_ros.tracking.tracks import Look

Array = NDArray[np.float64]

#: A face that was found belongs to a head whose window it overlaps at least this much (intersection over
#: union).
_MATCH_OVERLAP = 0.25
#: It replaces the head's own window when they overlap less than this.
_TRUST_OVERLAP = 0.6
#: A track ends when the detector misses it this many times in a row.
_MAX_MISSES = 3


def plan_looks(
    known: list[Look], finding: Finding | None, past: dict[int, CropWindows] | None, most: int
) -> list[Look]:
    """Where to look: for known heads where they should be, for new ones where they were found.

    :param known: where known heads should be.
    :param past: by id, where heads were in the image of the finding; None if it is the image at hand.
    :param most: heads at a time.
    """
    if finding is None:
        return known
    ids = [look.track.id if look.track else 0 for look in known]
    before = [(past or {}).get(one, look.window) for one, look in zip(ids, known, strict=True)]
    partner = match_windows(before, finding.windows)
    for look, one, then, index in zip(known, ids, before, partner, strict=True):
        if index is not None:
            look.found = True
            window = finding.windows[index : index + 1]
            look.misses, look.detector_score = 0, float(finding.scores[index])
            if then.overlap(window)[0] < _TRUST_OVERLAP:
                look.window = window if past is None else carried(window, then, look.window)
                look.refine = 1
        elif past is None or one in past:  # else it came since
            look.misses += 1
    looks = [look for look in known if look.misses <= _MAX_MISSES]
    unknown = np.setdiff1d(np.arange(len(finding.scores)), [one for one in partner if one is not None])
    best_first = unknown[np.argsort(-finding.scores[unknown], kind="stable")]
    for index in best_first[: max(0, most - len(looks))]:
        window, score = finding.windows[index : index + 1], float(finding.scores[index])
        looks.append(Look(window, score, refine=1, found=True))
    return looks


def match_windows(known: Sequence[CropWindows], found: CropWindows) -> list[int | None]:
    """For each known window (of one) the index of the found one that is its face, so that all overlap most.

    None without one.
    """
    partner: list[int | None] = [None] * len(known)
    if not known or not len(found):
        return partner
    repeated = np.zeros(len(found), dtype=np.intp)
    overlap = np.array([window[repeated].overlap(found) for window in known])
    for row, column in cheapest_pairs(-overlap):
        if overlap[row, column] >= _MATCH_OVERLAP:
            partner[row] = column
    return partner


def carried(window: CropWindows, before: CropWindows, now: CropWindows) -> CropWindows:
    """A window (one) of an older image where it is by now, if it goes along with a head's from ``before`` to
    ``now``: turned as the ray to the head has turned, grown as the head's window has grown."""
    rays = [one.rays(one.center)[0] for one in (before, now)]
    return _turned(window, rays[0], rays[1], float(now.size[0] / before.size[0]))


def led(window: CropWindows, before: Array, now: Array) -> CropWindows:
    """The window (one) of a head that was at the place ``before`` (3,) and is ``now`` at another."""
    growth = float(np.linalg.norm(before)) / max(float(np.linalg.norm(now)), 1e-6)
    return _turned(window, before, now, growth)


def _turned(window: CropWindows, before: Array, now: Array, growth: float) -> CropWindows:
    rays = np.stack([before, now])
    before_turn, now_turn = shortest_turn(rays / np.linalg.norm(rays, axis=1, keepdims=True))
    return window.scaled(growth).turned(now_turn @ before_turn.T)
