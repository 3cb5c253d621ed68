"""Identities over time against a known truth: people who walk about, and who was taken for whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trg_ros.tracking import TrackedHead

Array = NDArray[np.float64]

#: A head that is further from everybody is a ghost, metres; along the viewing ray three times as far.
_NEAR_M, _DEPTH_TOLERANCE = 0.25, 3.0
#: Who wasn't visible for longer may come back as somebody new, seconds.
_ABSENCE_S = 0.6


class Crowd:
    """`count` people who walk smoothly, each at a depth of its own; wide swings leave the image.

    :param cover_s: so long somebody (another one each time) is covered, every three seconds.
    """

    def __init__(self, count: int, seed: int, cover_s: float = 0.5) -> None:
        rng = np.random.default_rng(seed)
        self.count, self._cover_s = count, cover_s
        self._reach = np.stack([rng.uniform(0.4, 0.75, count), rng.uniform(0.02, 0.1, count)])
        self._rate = 2 * np.pi * rng.uniform(0.05, 0.2, (2, count))
        self._phase = rng.uniform(0, 2 * np.pi, (3, count))
        self.depth = 0.9 + 0.35 * rng.permutation(count)

    def places(self, time_s: float) -> Array:
        """(N, 3) metres, camera frame."""
        depth = self.depth + 0.05 * np.sin(0.5 * time_s + self._phase[2])
        # As fast as people walk, far away as well as near.
        side = self._reach[0] * np.sin(self._rate[0] / self.depth * time_s + self._phase[0]) * depth
        height = self._reach[1] * np.sin(self._rate[1] * time_s + self._phase[1]) * depth
        return np.stack([side, height, depth], axis=1)

    def angles_deg(self, time_s: float) -> Array:
        """(N, 3) pitch, yaw and roll against the viewing ray: people look about, and at whom they pass."""
        swing = np.sin(np.array([0.9, 0.6, 0.5])[:, None] * time_s + 2 * self._phase[[1, 0, 2]])
        return (np.array([[10.0], [45.0], [8.0]]) * swing).T

    def covered(self, time_s: float) -> int | None:
        """Who is covered now."""
        turn, since_s = divmod(time_s, 3.0)
        return int(turn) % self.count if 1.0 < since_s < 1.0 + self._cover_s else None


@dataclass(frozen=True)
class Switch:
    """At that time a person who had an id was seen with another one, or with one of somebody else."""

    time_s: float
    person: int
    before: int | None
    after: int


@dataclass
class Account:
    """What happened to the identities of one sequence of images.

    switches  while visible, or after an absence of at most 0.6 s. late_s: for each appearance, how long it
    took to be found. ghost_s: seconds that each id was seen where nobody was. seen and visible: heads.
    """

    switches: list[Switch] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    ghost_s: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    seen: int = 0
    visible: int = 0
    _owner: dict[int, int] = field(default_factory=dict)
    _identity: dict[int, int] = field(default_factory=dict)
    _last_s: dict[int, float] = field(default_factory=dict)
    _appeared_s: dict[int, float] = field(default_factory=dict)
    _time_s: float = -np.inf

    def observe(
        self,
        time_s: float,
        heads: Sequence[TrackedHead],
        places: Array,
        visible: NDArray[np.bool_],
        noticeable: NDArray[np.bool_] | None = None,
    ) -> None:
        """One image.

        :param places: (N, 3) where everybody really is, metres, camera frame; visible: (N,).
        :param noticeable: (N,) also who shows so little that finding them is neither demanded nor wrong.
        """
        step_s = time_s - self._time_s if np.isfinite(self._time_s) else 0.0
        for person in np.flatnonzero(visible).tolist():
            if time_s - self._last_s.get(person, -np.inf) > _ABSENCE_S:
                self._identity.pop(person, None)
        matched = set()
        for one in heads:
            whose = self._person(one, places, visible if noticeable is None else noticeable)
            if whose is None:
                self.ghost_s[one.id] += step_s
                continue
            matched.add(whose)
            self._identify(time_s, whose, one.id)
        for person in np.flatnonzero(visible).tolist():
            if time_s - self._last_s.get(person, -np.inf) > 1.5 * step_s:
                self._appeared_s[person] = time_s
            if person in matched and person in self._appeared_s:
                self.late_s.append(time_s - self._appeared_s.pop(person))
            self._last_s[person] = time_s
        self.seen += sum(bool(visible[person]) for person in matched)
        self.visible += int(visible.sum())
        self._time_s = time_s

    def summary(self) -> dict[str, float]:
        """Numbers that answer: whose id is it, how late was each found, how long do ghosts last?"""
        late_s = np.array(self.late_s or [0.0])
        return {
            "switches": len(self.switches),
            "appearances": len(self.late_s),
            "found_within_s_median": round(float(np.median(late_s)), 3),
            "found_within_s_95": round(float(np.quantile(late_s, 0.95)), 3),
            "found_after_0.3_s": round(float((late_s > 0.3).mean()), 4),
            "longest_ghost_s": round(max(self.ghost_s.values(), default=0.0), 3),
            "ghosts_s": round(sum(self.ghost_s.values()), 3),
            "seen": round(self.seen / max(self.visible, 1), 4),
        }

    def _person(self, one: TrackedHead, places: Array, noticeable: NDArray[np.bool_]) -> int | None:
        """Whose head that is, or nobody's."""
        offset = one.head.translation - places
        rays = places / np.linalg.norm(places, axis=1, keepdims=True)
        along = np.einsum("ni,ni->n", offset, rays)
        across = np.linalg.norm(offset - along[:, None] * rays, axis=1)
        apart = np.where(noticeable, np.hypot(across, along / _DEPTH_TOLERANCE), np.inf)
        person = int(apart.argmin())
        return person if apart[person] <= _NEAR_M else None

    def _identify(self, time_s: float, person: int, identity: int) -> None:
        known = self._identity.get(person)
        if self._owner.get(identity, person) != person or known not in (None, identity):
            self.switches.append(Switch(time_s, person, known, identity))
        self._owner[identity], self._identity[person] = person, identity
