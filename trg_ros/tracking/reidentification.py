"""Who is who: where heads should be by now, and which head that is seen is which one that is known.

One assignment for all heads at once, of least surprise: each pair costs -2 log likelihood of seeing
this person there (Mahalanobis distance from the predicted place and volume of where it can be, noise as the
network states it) and looking like that; being somebody new costs the same for everybody. So who was lost
for longer may be further away, but then has to look the same.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trg_ros.heads import HeadPose
from trg_ros.tracking.appearance import UNSEEN, unlikeness
from trg_ros.tracking.assignment import cheapest_pairs

Array = NDArray[np.float64]

#: People walk so fast (standard deviation, m/s), and keep a velocity for so long (seconds).
_SPEED, _STEADY_S = 0.6, 1.0
#: The surprise of somebody new: anywhere in some 10 m^3, and one in five who turn up is new.
_NEW = 2.0
#: Where somebody who is followed is not seen: five standard deviations from the expected place ...
_GATE = 25.0
#: ... or where somebody is seen who looks so different, in more than one part: one of them may show something
#: else for a moment.
_OTHER_LOOK, _ASTRAY = 12.0, 0.02
#: Of two people one is surely somebody if that is so much less surprising (20 times as likely).
_DOUBTFUL = 6.0
_IMPOSSIBLE = 1e4
#: Looks count for so long, in looks.
_LOOKS = 10
#: ... of who is still followed so much later, seconds: what hides somebody is seen before it is noticed.
_SETTLED_S = 0.4
#: Part of a face hidden by others that doubles the noise of its place.
_HIDDEN = 0.1


class _Spread:
    """How sure a course is in one direction: variances of place and velocity."""

    def __init__(self, noise: float) -> None:
        self._place, self._both, self._velocity = noise, 0.0, _SPEED**2

    def place(self, step_s: float) -> float:
        """Variance of the place, so long after the last measurement."""
        return self._predicted(step_s)[0]

    def observe(self, step_s: float, noise: float) -> tuple[float, float]:
        """Take a measurement of that variance: how much of its offset to add to place and velocity (1/s)."""
        place, both, velocity = self._predicted(step_s)
        gain, velocity_gain = place / (place + noise), both / (place + noise)
        self._place, self._both = place * (1 - gain), both * (1 - gain)
        self._velocity = velocity - velocity_gain * both
        return gain, velocity_gain

    def _predicted(self, step_s: float) -> tuple[float, float, float]:
        """The exact process: a velocity that is forgotten and drawn anew (Ornstein and Uhlenbeck)."""
        keep, reach_s = kept(step_s), reach(step_s)
        variance = _SPEED**2
        return (
            self._place
            + reach_s * (2 * self._both + reach_s * self._velocity)
            + variance * _STEADY_S * (2 * step_s - 3 * _STEADY_S + _STEADY_S * keep * (4 - keep)),
            keep * (self._both + reach_s * self._velocity) + variance * _STEADY_S * (1 - keep) ** 2,
            keep**2 * self._velocity + variance * (1 - keep**2),
        )


def kept(step_s: float) -> float:
    """Part of a velocity that is left after so long."""
    return math.exp(-step_s / _STEADY_S)


def reach(step_s: float) -> float:
    """For so many seconds' worth of its velocity a head goes on within so long."""
    return _STEADY_S * (1 - kept(step_s))


class Spot(NamedTuple):
    """Where a head is or should be, and how sure that is: metres, camera frame; variances across (each way)
    and along the viewing ray, m^2. Plain numbers, as each is compared with each: numpy takes ten times as
    long for so few."""

    x: float
    y: float
    z: float
    across: float
    along: float

    @classmethod
    def of(cls, head: HeadPose) -> Spot:
        """Where a head is seen, with the noise as the network states it."""
        x, y, z = head.translation.tolist()
        (xx, xy, xz), (_, yy, yz), (_, _, zz) = head.covariance[:3, :3].tolist()
        along = x * (x * xx + 2 * (y * xy + z * xz)) + y * (y * yy + 2 * z * yz) + z * z * zz
        along /= max(x * x + y * y + z * z, 1e-12)
        return cls(x, y, z, max(0.5 * (xx + yy + zz - along), 1e-8), max(along, 1e-8))

    def surprise(self, seen: Spot) -> tuple[float, float]:
        """Of a head that is seen there and expected here: squared Mahalanobis distance, and log volume of
        where it can be."""
        x, y, z = seen.x - self.x, seen.y - self.y, seen.z - self.z
        ahead = x * self.x + y * self.y + z * self.z
        along = ahead * ahead / max(self.x * self.x + self.y * self.y + self.z * self.z, 1e-12)
        across = max(x * x + y * y + z * z - along, 0.0)
        wide, deep = self.across + seen.across, self.along + seen.along
        return across / wide + along / deep, 2 * math.log(wide) + math.log(deep)


@dataclass
class Course:
    """Where a head is and where it goes (a Kalman filter). Metres and seconds, camera frame.

    :param noise: variances of the measured place across and along the viewing ray.
    """

    place: Array
    stamp_s: float
    noise: tuple[float, float]
    velocity: Array = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        self._across, self._along = (_Spread(noise) for noise in self.noise)

    @classmethod
    def of(cls, head: HeadPose, stamp_s: float) -> Course:
        """The course of a head that has just appeared."""
        seen = Spot.of(head)
        return cls(head.translation, stamp_s, (seen.across, seen.along))

    def expected(self, stamp_s: float) -> Array:
        """(3,) the place at that time."""
        return self.place + self.velocity * reach(max(stamp_s - self.stamp_s, 0.0))

    def expectation(self, stamp_s: float) -> Spot:
        """The place at that time, and how sure it is."""
        step_s = max(stamp_s - self.stamp_s, 0.0)
        x, y, z = self.expected(stamp_s).tolist()
        return Spot(x, y, z, self._across.place(step_s), self._along.place(step_s))

    def observe(self, head: HeadPose, stamp_s: float, hidden: float = 0.0) -> None:
        """The head was seen there; so much of it was hidden by others, 0..1."""
        step_s = stamp_s - self.stamp_s
        if step_s <= 0:
            return
        expected = self.expected(stamp_s)
        across, along = _parts(expected, head.translation)
        doubt = 1 + (hidden / _HIDDEN) ** 2
        seen = Spot.of(head)
        gain, velocity_gain = self._across.observe(step_s, doubt * seen.across)
        gain_along, velocity_gain_along = self._along.observe(step_s, doubt * seen.along)
        self.place = expected + gain * across + gain_along * along
        self.velocity = kept(step_s) * self.velocity + velocity_gain * across + velocity_gain_along * along
        self.stamp_s = stamp_s

    def turn(self, rotation: Array) -> None:
        """The camera turned: now_R_before (3, 3)."""
        self.place, self.velocity = rotation @ self.place, rotation @ self.velocity

    def surprise(self, head: HeadPose, stamp_s: float) -> tuple[float, float]:
        """Of seeing this head there; see :meth:`Spot.surprise`."""
        return self.expectation(stamp_s).surprise(Spot.of(head))


def _parts(expected: Array, place: Array) -> tuple[Array, Array]:
    """The offset of a place from the expected one, across and along the viewing ray."""
    offset = place - expected
    along = float(offset @ expected) / max(float(expected @ expected), 1e-12) * expected
    return offset - along, along


@dataclass
class Person:
    """What is known of somebody: where the head goes, and what it looks like.

    :param look: (3, 2) see ``trg_ros.tracking.appearance``, a mean over time; NaN where it was never seen
        well.
    """

    course: Course
    look: Array
    _times: int = 1
    _recent: deque[tuple[float, Array]] = field(default_factory=deque)

    @classmethod
    def of(cls, head: HeadPose, look: Array, stamp_s: float) -> Person:
        """Somebody who has just appeared."""
        return cls(Course.of(head, stamp_s), look)

    def observe(self, head: HeadPose, look: Array, stamp_s: float, hidden: float = 0.0) -> None:
        """It was seen there, looking like that; so much of it was hidden by others, 0..1."""
        self.course.observe(head, stamp_s, hidden)
        if look is not UNSEEN:
            self._recent.append((stamp_s, look))
            self.look = np.where(np.isfinite(self.look), self.look, look)
        while self._recent and stamp_s - self._recent[0][0] >= _SETTLED_S:
            self._learn(self._recent.popleft()[1])

    def lose(self) -> None:
        """It isn't seen any more, and perhaps it wasn't in the last looks either."""
        self._recent.clear()

    def _learn(self, look: Array) -> None:
        self._times = min(self._times + 1, _LOOKS)
        step = (look - self.look) / self._times
        self.look = self.look + np.where(np.isfinite(step), step, 0.0)

    def surprise(self, expected: Spot, seen: Spot, look: Array, lost: bool) -> float:
        """-2 log likelihood (up to a constant) that this person is seen there, looking like that."""
        distance, volume = expected.surprise(seen)
        if not lost and distance > _GATE:
            return _IMPOSSIBLE
        unlike = unlikeness(self.look, look) if lost else unlikeness(self.look, look, _ASTRAY)
        if not lost and unlike > _OTHER_LOOK:  # the window shows what hides the head
            return _IMPOSSIBLE
        return distance + volume + unlike


def who_is_who(
    known: Sequence[Person],
    lost: int,
    heads: Sequence[HeadPose],
    looks: Sequence[Array],
    stamp_s: float,
) -> tuple[list[int | None], list[bool]]:
    """For each head that is seen the index of who it is, or None for somebody new; and if that is sure.

    It isn't if the head could nearly as well be somebody else who is lost, or somebody new.

    :param lost: from this index on those who are known are lost.
    :param looks: (3, 2) each, what each head looks like.
    """
    expected = [person.course.expectation(stamp_s) for person in known]
    surprise = np.full((len(heads), len(known) + len(heads)), _NEW)
    for row, (head, look) in enumerate(zip(heads, looks, strict=True)):
        seen = Spot.of(head)
        for column, person in enumerate(known):
            surprise[row, column] = person.surprise(expected[column], seen, look, lost=column >= lost)
    columns = [column for _, column in cheapest_pairs(surprise)]
    free = [column for column in range(lost, len(known)) if column not in columns]
    sure = []
    for row, column in enumerate(columns):
        others = [surprise[row, other] for other in free] + [_NEW] * (column < len(known))
        sure.append(column < lost or min(others, default=math.inf) - surprise[row, column] >= _DOUBTFUL)
    return [column if column < len(known) else None for column in columns], sure
