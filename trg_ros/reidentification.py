"""Who is who: where a head should be by now, and whether a new one was lost a moment ago."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trg_ros.estimator import HeadPose

Array = NDArray[np.float64]

#: A lost head is remembered that long (occlusions), seconds.
KEEP_S = 0.8
#: How far a head may be from where it is expected, across the viewing ray in metres (and more per second) ...
_ACROSS_M, _ACROSS_M_PER_S = 0.14, 0.3
#: ... and along it, in parts of the distance (and more per second): depth is what one camera knows least.
_ALONG, _ALONG_PER_S = 0.2, 0.05
#: ... but at least so many standard deviations of the network's own depth error.
_DEPTH_DEVIATIONS = 2.5
_MAX_SPEED = 3.0  # m/s
_MAX_PREDICTION_S = 0.5
_PLACE_GAIN, _VELOCITY_GAIN = 0.7, 0.3


@dataclass
class Course:
    """Where a head is and where it goes: a steady velocity, gently corrected.

    Metres and seconds, camera frame.
    """

    place: Array
    stamp_s: float
    depth_error: float = 0.0  # standard deviation in parts of the distance
    velocity: Array = field(default_factory=lambda: np.zeros(3))

    @classmethod
    def of(cls, head: HeadPose, stamp_s: float) -> Course:
        """The course of a head that has just appeared."""
        distance = max(float(np.linalg.norm(head.translation)), 1e-6)
        ray = head.translation / distance
        return cls(head.translation, stamp_s, float(ray @ head.covariance[:3, :3] @ ray) ** 0.5 / distance)

    def expected(self, stamp_s: float) -> Array:
        """(3,) the place at that time."""
        return self.place + self.velocity * min(max(stamp_s - self.stamp_s, 0.0), _MAX_PREDICTION_S)

    def observe(self, place: Array, stamp_s: float) -> None:
        """The head was seen there."""
        step_s = stamp_s - self.stamp_s
        if step_s <= 0:
            return
        expected = self.expected(stamp_s)
        velocity = self.velocity + _VELOCITY_GAIN * (place - expected) / step_s
        speed = float(np.linalg.norm(velocity))
        self.velocity = velocity * min(1.0, _MAX_SPEED / max(speed, 1e-9))
        self.place = expected + _PLACE_GAIN * (place - expected)
        self.stamp_s = stamp_s

    def strangeness(self, place: Array, stamp_s: float) -> float:
        """How unexpected it is to see the head there: up to 1 it can be the same."""
        expected, elapsed_s = self.expected(stamp_s), max(stamp_s - self.stamp_s, 0.0)
        distance = max(float(np.linalg.norm(expected)), 1e-6)
        ray, offset = expected / distance, place - expected
        along = float(offset @ ray)
        across = float(np.linalg.norm(offset - along * ray))
        return float(
            np.hypot(
                across / (_ACROSS_M + _ACROSS_M_PER_S * elapsed_s),
                along
                / distance
                / (max(_ALONG, _DEPTH_DEVIATIONS * self.depth_error) + _ALONG_PER_S * elapsed_s),
            )
        )


@dataclass(frozen=True)
class LostHead:
    """Somebody who was seen a moment ago."""

    id: int
    slot: int
    course: Course


class LostHeads:
    """Remembers heads for a moment after they were last seen."""

    def __init__(self) -> None:
        self._heads: list[LostHead] = []

    def __len__(self) -> int:
        return len(self._heads)

    @property
    def slots(self) -> set[int]:
        """Slots that somebody may want back."""
        return {head.slot for head in self._heads}

    def add(self, head: LostHead) -> None:
        self._heads.append(head)

    def expire(self, stamp_s: float) -> None:
        """Forget those who were seen too long ago."""
        self._heads = [head for head in self._heads if stamp_s - head.course.stamp_s <= KEEP_S]

    def claim(self, places: list[Array], stamp_s: float) -> list[LostHead | None]:
        """For each head that appears at (3,) the lost one that it is, or None. Those found aren't lost."""
        claimed: list[LostHead | None] = [None] * len(places)
        if not places or not self._heads:
            return claimed
        strangeness = np.array(
            [[head.course.strangeness(place, stamp_s) for head in self._heads] for place in places]
        )
        for row, column in zip(*linear_sum_assignment(np.minimum(strangeness, 10.0)), strict=True):
            if strangeness[row, column] <= 1.0:
                claimed[row] = self._heads[column]
        self._heads = [head for head in self._heads if all(head is not one for one in claimed)]
        return claimed
