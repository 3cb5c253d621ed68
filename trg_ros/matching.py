"""Where to look: which face that was found belongs to which head that is known, and where it is by now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from trg_ros.crop import CropWindows, shortest_turn
from trg_ros.searching import Finding
from trg_ros.tracks import Look, Track

#: A face that was found belongs to a head whose window it overlaps at least this much (intersection over
#: union).
_MATCH_OVERLAP = 0.25
#: It replaces the head's own window when they overlap less than this.
_TRUST_OVERLAP = 0.6
#: A track ends when the detector misses it this many times in a row.
_MAX_MISSES = 3


def plan_looks(
    known: Sequence[Track], finding: Finding | None, past: dict[int, CropWindows] | None, most: int
) -> list[Look]:
    """Where to look: for known heads where they should be, for new ones where they were found.

    :param past: by id, where heads were in the image of the finding; None if it is the image at hand.
    :param most: heads at a time.
    """
    looks = [Look(track.window, track.detector_score, track.misses, track) for track in known]
    if finding is None:
        return looks
    before = [(past or {}).get(track.id, track.window) for track in known]
    partner = match_windows(before, finding.windows)
    for look, track, then, index in zip(looks, known, before, partner, strict=True):
        if index is not None:
            look.found = True
            window = finding.windows[index : index + 1]
            look.misses, look.detector_score = 0, float(finding.scores[index])
            if then.overlap(window)[0] < _TRUST_OVERLAP:
                look.window = window if past is None else carried(window, then, look.window)
                look.refine = 1
        elif past is None or track.id in past:  # else it came since
            look.misses += 1
    looks = [look for look in looks if look.misses <= _MAX_MISSES]
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
