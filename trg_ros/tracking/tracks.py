"""What a tracker keeps of heads: whom it knows, where it looks in an image, and what it sees there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import LANDMARK_BOX_SCALE, CropWindows
from trg_ros.heads import HeadPose
from trg_ros.tracking.reidentification import Person

Array = NDArray[np.float64]

#: What a head with hair hides: left, top, right, bottom of its TRG box, in sides. A body hides all below.
_SILHOUETTE = (0.0, -0.25, 1.0, 1.0)
#: Left, top and right of the same about the box's middle, with a margin.
_AROUND = (-0.55, -0.8, 0.55)
#: A part that is hidden more than this isn't wholly clear; so much of it has to be left to be seen.
_CLEAR, _ENOUGH = 0.05, 0.3
#: Who is hidden by others more than this isn't looked for: the network would see the others.
_MOST_HIDDEN = 0.5
#: Who is seen although hidden more than this isn't behind the others.
_WHOLLY = 0.9
#: The landmarks' part of that box.
_FACE = 0.5 + 0.5 / LANDMARK_BOX_SCALE * np.array([-1.0, -1.0, 1.0, 1.0])


@dataclass(eq=False)
class Look:
    """Where to look in one image.

    :param misses: how often the detector didn't find what is in the window, in a row.
    :param track: whose head is expected there; None where a new face was found.
    :param refine: how often to look again.
    :param found: there was a face now or a moment ago; so it can be somebody new.
    """

    window: CropWindows
    detector_score: float
    misses: int = 0
    track: Track | None = None
    refine: int = 0
    found: bool = False


@dataclass(eq=False)
class Sight:
    """A head that is seen.

    :param look: where it was looked for.
    :param window: the window (one) that its landmarks ask for; box: (4,) left, top, right, bottom px of it.
        These and ``place`` turn with the camera until the next sight; ``head`` is as it was seen.
    :param colours: what it looks like, see ``trg_ros.tracking.appearance``.
    :param place: (3,) metres, of the head.
    :param hidden: part of the face that others hide.
    """

    head: HeadPose
    look: Look
    window: CropWindows
    box: Array
    colours: Array
    place: Array
    hidden: float = 0.0


@dataclass(eq=False)
class Track:
    """Somebody: followed from image to image, or lost a moment ago.

    :param id: 0 as long as it may still turn out to be somebody who is lost.
    :param sight: the last one.
    :param since_s: when it was seen first.
    """

    id: int
    slot: int
    person: Person
    sight: Sight
    since_s: float

    def follow(self, sight: Sight, stamp_s: float) -> None:
        """It is seen again."""
        self.person.observe(sight.head, sight.colours, stamp_s, sight.hidden)
        self.sight = sight

    def turn(self, rotation: Array, camera: CameraModel) -> None:
        """The camera turned, now_R_before (3, 3): whoever stands still is elsewhere in the image."""
        self.person.course.turn(rotation)
        window = self.sight.window.turned(rotation)
        box, place = window.to_boxes(camera)[0], rotation @ self.sight.place
        self.sight = replace(self.sight, window=window, box=box, place=place)


def hidden_parts(windows: CropWindows, depths: Sequence[float], parts: Array, bodies: bool = True) -> Array:
    """(N, P) how much of each part of each of N heads is hidden by a nearer one, 0..1.

    :param windows: of the heads; depths: of the heads, metres.
    :param parts: (P, 4) left, top, right, bottom of a head's TRG box, in its sides.
    :param bodies: whether heads have bodies below them.
    """
    if len(windows) < 2:
        return np.zeros((len(windows), len(parts)))
    rays, size = windows.rays(windows.center), windows.size[:, None]
    corner = rays[:, :2] / np.maximum(rays[:, 2:], 1e-3) - 0.5 * size
    low = (corner[:, None] + parts[:, :2] * size[:, None])[:, None]  # (N, 1, P, 2)
    high = (corner[:, None] + parts[:, 2:] * size[:, None])[:, None]
    left, top, right, bottom = (
        corner[:, axis, None] + edge * size for axis, edge in zip((0, 1, 0, 1), _SILHOUETTE, strict=True)
    )
    if bodies:
        bottom = np.full_like(bottom, np.inf)
    wide = np.minimum(high[..., 0], right) - np.maximum(low[..., 0], left)  # (N, those who hide it, P)
    tall = np.minimum(high[..., 1], bottom) - np.maximum(low[..., 1], top)
    covered = np.maximum(wide, 0) * np.maximum(tall, 0) / (high - low).prod(axis=-1)
    depth = np.asarray(depths)
    covered[depth >= depth[:, None]] = 0.0
    return np.minimum(covered, 1.0).max(axis=1)


def clear_parts(windows: CropWindows, depths: Sequence[float], parts: Array, hidden: Array) -> Array:
    """(N, P, 4) what nobody nearer hides of parts of heads, as far as it is one rectangle: left, top, right,
    bottom in sides of each head's TRG box; NaN where that is little.

    :param hidden: (N, P) how much is hidden, see :func:`hidden_parts`, which has the other parameters.
    """
    clear = np.tile(parts, (len(hidden), 1, 1))
    partly = np.argwhere(hidden > _CLEAR).tolist()
    if not partly:
        return clear
    rays, sides = windows.rays(windows.center), windows.size.tolist()
    middles = (rays[:, :2] / np.maximum(rays[:, 2:], 1e-3)).tolist()
    for row, part in partly:
        rest = parts[part].tolist()
        for (x, y), side, depth in zip(middles, sides, depths, strict=True):
            if depth < depths[row]:
                left, top, right = (edge * side / sides[row] + 0.5 for edge in _AROUND)
                aside, below = (x - middles[row][0]) / sides[row], (y - middles[row][1]) / sides[row]
                rest = _beside(rest, left + aside, top + below, right + aside)
        clear[row, part] = rest if _area(rest) >= _ENOUGH * _area(parts[part]) else np.nan
    return clear


def _beside(rest: list[float], left: float, top: float, right: float) -> list[float]:
    """The largest rectangle of another one that is beside or above somebody who reaches down from ``top``."""
    first, low, last, high = rest
    if right <= first or left >= last or top >= high:
        return rest
    beside = [first, low, left, high], [right, low, last, high], [first, low, last, top]
    return max(beside, key=_area)


def _area(box: Sequence[float]) -> float:
    """Of left, top, right, bottom; 0 if they are the wrong way round."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def hidden_faces(windows: CropWindows, depths: Sequence[float], bodies: bool = True) -> Array:
    """(N,) how much of each face is hidden by nearer heads; see :func:`hidden_parts`."""
    return hidden_parts(windows, depths, _FACE[None], bodies)[:, 0]


def in_view(looks: list[Look], depths: Sequence[float]) -> list[Look]:
    """The looks at those whom nobody nearer hides.

    Who was seen where another's body should have hidden them is looked for nevertheless: somebody on
    another's lap, or a picture on a wall. So is whose face has just been found.

    :param depths: of the heads that are expected, metres.
    """
    if len(looks) < 2:
        return looks
    windows = CropWindows.concatenate([look.window for look in looks])
    hidden = hidden_faces(windows, depths) > _MOST_HIDDEN
    if not hidden.any():
        return looks
    hidden_by_heads = hidden_faces(windows, depths, bodies=False) > _MOST_HIDDEN
    seen_there = [look.track is not None and look.track.sight.hidden > _WHOLLY for look in looks]
    just_found = np.array([look.track is not None and look.track.sight.look.found for look in looks])
    gone = hidden & ~just_found & (hidden_by_heads | ~np.array(seen_there))
    return [look for look, away in zip(looks, gone.tolist(), strict=True) if not away]


def give_slots(tracks: list[Track], taken: set[int], wanted: set[int], count: int) -> None:
    """Give each of these the lowest of ``count`` free slots, if possible one that nobody wants back."""
    for track in tracks:
        free = set(range(count)) - taken
        track.slot = min(free - wanted or free)
        taken.add(track.slot)
