"""Who is who: where heads should be by now, and which head that is seen is which one that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trg_ros.appearance import USUAL_DISTANCE, distance
from trg_ros.heads import HeadPose

Array = NDArray[np.float64]

#: A head may be so far from where it is expected, across the viewing ray in metres (and more per second) ...
_ACROSS_M, _ACROSS_M_PER_S = 0.14, 0.3
#: ... and along it, in parts of the distance (and more per second): depth is what one camera knows least.
_ALONG, _ALONG_PER_S = 0.2, 0.05
#: ... but at least so many standard deviations of the network's own depth error.
_DEPTH_DEVIATIONS = 2.5
_MAX_SPEED = 3.0  # m/s
_MAX_PREDICTION_S = 0.5
#: How much heads accelerate: power of white noise, m^2/s^3. How fast those are that appear, m/s.
_ACCELERATION, _SPEED = 0.6**2, 0.7
#: How far measurements scatter from image to image, across and along the ray in parts of the distance: at
#: first, and at least. In between each course learns it from its own surprises, at this rate.
_NOISE, _LEAST_NOISE, _LEARNING_RATE = (0.01, 0.03), (0.003, 0.006), 0.1
_IMPOSSIBLE = 1e4
#: Degrees of freedom of the t-distribution of surprises: people do unexpected things more often than noise.
_TAILS = 3.0
#: How much further away somebody may be who looks just as the lost one did, in parts.
_LOOKS_COUNT = 0.6
#: Who is followed and suddenly looks so different isn't seen any more (see ``Person._unlike``).
_SUDDENLY_UNLIKE = 2.5
#: However little somebody looks like the lost one: so far away it may be, in parts.
_LEAST = 0.5
#: Who was lost for longer has to look the same, seconds.
_LONG_S = 0.8


class _Spread:
    """How sure a course is in one direction: variances of place and velocity, and of what is measured."""

    def __init__(self, noise: float, least: float) -> None:
        """Noise: standard deviation of a measurement now, and the smallest it can be; metres."""
        self.noise, self._least = noise**2, least**2
        self._place, self._both, self._velocity = self.noise, 0.0, _SPEED**2

    def expected(self, step_s: float) -> float:
        """Variance of the next measurement, so long after the last one."""
        return self._predicted(step_s)[0] + self.noise

    def observe(self, step_s: float, surprise: float) -> tuple[float, float]:
        """Take a measurement; its squared surprise -> how much of it to add to place and velocity (1/s)."""
        place, both, velocity = self._predicted(step_s)
        gain, velocity_gain = place / (place + self.noise), both / (place + self.noise)
        self._place, self._both = place * (1 - gain), both * (1 - gain)
        self._velocity = velocity - velocity_gain * both
        noise = self.noise + _LEARNING_RATE * (min(surprise, 9 * (place + self.noise)) - place - self.noise)
        self.noise = max(noise, self._least)
        return gain, velocity_gain

    def _predicted(self, step_s: float) -> tuple[float, float, float]:
        return (
            self._place + step_s * (2 * self._both + step_s * (self._velocity + step_s * _ACCELERATION / 3)),
            self._both + step_s * (self._velocity + step_s * _ACCELERATION / 2),
            self._velocity + step_s * _ACCELERATION,
        )


@dataclass
class Course:
    """Where a head is and where it goes: a steady velocity, corrected by what is seen (a Kalman filter).

    Metres and seconds, camera frame.
    """

    place: Array
    stamp_s: float
    depth_error: float = 0.0  # standard deviation in parts of the distance
    velocity: Array = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        distance = float(np.linalg.norm(self.place))
        self._spread = tuple(
            _Spread(noise * distance, least * distance)
            for noise, least in zip(_NOISE, _LEAST_NOISE, strict=True)
        )

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
        for spread, offset, dimensions in zip(self._spread, _parts(expected, place), (2, 1), strict=True):
            gain, velocity_gain = spread.observe(step_s, float(offset @ offset) / dimensions)
            expected = expected + gain * offset
            self.velocity = self.velocity + velocity_gain * offset
        speed = float(np.linalg.norm(self.velocity))
        self.velocity = self.velocity * min(1.0, _MAX_SPEED / max(speed, 1e-9))
        self.place, self.stamp_s = expected, stamp_s

    def strangeness(self, place: Array, stamp_s: float) -> float:
        """How unexpected it is to see the head there: up to 1 it can be the same."""
        expected, elapsed_s = self.expected(stamp_s), max(stamp_s - self.stamp_s, 0.0)
        across, along = _parts(expected, place)
        distance = max(float(np.linalg.norm(expected)), 1e-6)
        most_across = _ACROSS_M + _ACROSS_M_PER_S * elapsed_s
        most_along = max(_ALONG, _DEPTH_DEVIATIONS * self.depth_error) + _ALONG_PER_S * elapsed_s
        return math.hypot(
            float(np.linalg.norm(across)) / most_across,
            float(np.linalg.norm(along)) / (most_along * distance),
        )

    def surprise(self, place: Array, stamp_s: float) -> float:
        """-2 log likelihood (up to a constant) that this head is seen there."""
        across, along = _parts(self.expected(stamp_s), place)
        step_s = max(stamp_s - self.stamp_s, 0.0)
        wide, deep = (spread.expected(step_s) for spread in self._spread)
        distance = float(across @ across) / wide + float(along @ along) / deep
        return (_TAILS + 3) * math.log1p(distance / _TAILS) + 2 * math.log(wide) + math.log(deep)


def _parts(expected: Array, place: Array) -> tuple[Array, Array]:
    """The offset of a place from the expected one, across and along the viewing ray."""
    offset = place - expected
    along = (offset @ expected) / max(float(expected @ expected), 1e-12) * expected
    return offset - along, along


@dataclass
class Person:
    """What is known of somebody: where the head goes, and what it looks like.

    :param colours: (12,) see ``trg_ros.appearance``, a mean over time; None if it was never seen well.
    """

    course: Course
    colours: Array | None = None
    _times: int = 0

    @classmethod
    def of(cls, head: HeadPose, colours: Array | None, stamp_s: float) -> Person:
        """Somebody who has just appeared."""
        return cls(Course.of(head, stamp_s), colours, int(colours is not None))

    def observe(self, place: Array, colours: Array | None, stamp_s: float, clear: bool) -> None:
        """It was seen there; its colours are its own if nobody else was next to it."""
        self.course.observe(place, stamp_s)
        if colours is not None and clear:
            self._times += 1
            rate = max(1 / self._times, _LEARNING_RATE)
            self.colours = colours if self.colours is None else self.colours + rate * (colours - self.colours)

    def forget_colours(self) -> None:
        """It is back, perhaps in another light: what it looks like now counts most."""
        self._times = 0

    def surprise(self, place: Array, colours: Array | None, stamp_s: float) -> float:
        """-2 log likelihood (up to a constant) to see this person there, looking like that."""
        unlike = self._unlike(colours) or 0.0
        return self.course.surprise(place, stamp_s) + (_TAILS + 3) * math.log1p(3 * unlike**2 / _TAILS)

    def can_be(self, place: Array, colours: Array | None, stamp_s: float, lost: bool) -> bool:
        """Whether it can be this person. The more somebody looks like one who was lost, the further away."""
        unlike = self._unlike(colours)
        if not lost:  # what a window shows may be whatever hides the head
            alike = unlike is None or unlike <= _SUDDENLY_UNLIKE
            return alike and self.course.strangeness(place, stamp_s) <= 1.0
        if stamp_s - self.course.stamp_s > _LONG_S and (unlike is None or unlike > 1.0):
            return False
        most = 1.0 if unlike is None else max(1.0 + _LOOKS_COUNT * (1.0 - unlike), _LEAST)
        return self.course.strangeness(place, stamp_s) <= most

    def _unlike(self, colours: Array | None) -> float | None:
        """How different the colours are: looks at one person differ by less than 1, mostly."""
        if colours is None or self.colours is None:
            return None
        return distance(colours, self.colours) / USUAL_DISTANCE


def who_is_who(
    known: Sequence[Person],
    lost: int,
    places: Sequence[Array],
    colours: Sequence[Array | None],
    stamp_s: float,
) -> list[int | None]:
    """For each head that is seen the index of the person it is, or None for somebody new.

    Decided for all at once, so that together they are least surprising.

    :param lost: from this index on those who are known are lost.
    :param places: (3,) each, metres, camera frame; colours: what each looks like, where that is seen.
    """
    answer: list[int | None] = [None] * len(places)
    if not places or not known:
        return answer
    surprise = np.full((len(places), len(known)), _IMPOSSIBLE)
    for row, (place, look) in enumerate(zip(places, colours, strict=True)):
        for column, person in enumerate(known):
            if person.can_be(place, look, stamp_s, lost=column >= lost):
                surprise[row, column] = person.surprise(place, look, stamp_s)
    for row, column in zip(*linear_sum_assignment(surprise), strict=True):
        if surprise[row, column] < _IMPOSSIBLE:
            answer[row] = int(column)
    return answer
