"""Identities over time against a known truth: people who walk about, and who was taken for whom.

Counted as in CLEAR MOT (Bernardin and Stiefelhagen 2008): in each image heads and people are matched one to
one within a distance, whoever matched a moment ago stays matched while that holds, and a switch is a person
matched with another id than before. Who shows too little of the face counts neither way ("don't care").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trg_ros.tracking import TrackedHead

Array = NDArray[np.float64]

#: A head that is further from everybody is a ghost, metres; along the viewing ray three times as far.
_NEAR_M, _DEPTH_TOLERANCE = 0.15, 3.0
_FAR = 1e6
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
    """At that time a person who had an id was seen with another one, or with one of somebody else.

    :param before: the person's last id, if it had one.
    :param owner: who had the id ``after`` last, if anybody.
    :param absent_s: for so long the person had not been visible since it was seen with ``before``.
    """

    time_s: float
    person: int
    before: int | None
    after: int
    owner: int | None
    absent_s: float

    @property
    def counts(self) -> bool:
        """Whether it is a mistake: who was away for long may be back as somebody new, but not as another."""
        lost = self.before is not None and self.absent_s <= _ABSENCE_S
        return lost or self.owner not in (None, self.person)


@dataclass
class Account:
    """What happened to the identities of one sequence of images.

    switches: see :class:`Switch`. late_s: for each appearance, how long it took to be found, or how long it
    lasted. ghosts: heads seen where nobody was, or where somebody was seen already. seen and visible: heads.
    """

    switches: list[Switch] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    ghosts: int = 0
    longest_ghost_s: float = 0.0
    seen: int = 0
    visible: int = 0
    _owner: dict[int, int] = field(default_factory=dict)
    _identity: dict[int, int] = field(default_factory=dict)
    _last_s: dict[int, float] = field(default_factory=dict)
    _appeared_s: dict[int, float] = field(default_factory=dict)
    _absent_s: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    _matched: dict[int, int] = field(default_factory=dict)
    _together: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    _ghost_s: dict[int, float] = field(default_factory=dict)
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
            gap_s = time_s - self._last_s.get(person, -np.inf)
            self._last_s[person] = time_s
            if gap_s > 1.5 * step_s:
                if person in self._appeared_s:  # it left without having been found
                    self.late_s.append(time_s - gap_s - self._appeared_s[person])
                self._appeared_s[person] = time_s
                self._absent_s[person] = max(self._absent_s[person], gap_s)
        self._match(heads, places, visible if noticeable is None else noticeable)
        ghosts = [one.id for one in heads if one.id not in self._matched]
        self._ghost_s = {one: self._ghost_s.get(one, 0.0) + step_s for one in ghosts}
        self.longest_ghost_s = max(self.longest_ghost_s, *self._ghost_s.values(), 0.0)
        self.ghosts += len(ghosts)
        for identity, person in self._matched.items():
            if visible[person]:
                self._identify(time_s, person, identity)
        found = [person for person in self._matched.values() if visible[person]]
        self.late_s += [
            time_s - self._appeared_s.pop(person) for person in found if person in self._appeared_s
        ]
        self.seen += len(found)
        self.visible += int(visible.sum())
        self._time_s = time_s

    def summary(self) -> dict[str, float | list[int]]:
        """Numbers that answer: whose id is it, how late was each found, how long do ghosts last?"""
        late_s = np.array(self.late_s or [0.0])
        return {
            "switches": sum(one.counts for one in self.switches),
            "switches_each_minute": self._each_minute(),
            "switches_clear_mot": sum(one.before is not None for one in self.switches),
            "idf1": round(self._idf1(), 4),
            "appearances": len(self.late_s),
            "found_within_s_median": round(float(np.median(late_s)), 3),
            "found_within_s_95": round(float(np.quantile(late_s, 0.95)), 3),
            "found_after_0.3_s": round(float((late_s > 0.3).mean()), 4),
            "longest_ghost_s": round(self.longest_ghost_s, 3),
            "ghosts": self.ghosts,
            "seen": round(self.seen / max(self.visible, 1), 4),
        }

    def _each_minute(self) -> list[int]:
        minutes = [int(one.time_s // 60) for one in self.switches if one.counts]
        return [minutes.count(minute) for minute in range(int(max(self._time_s, 0) // 60) + 1)]

    def _match(self, heads: Sequence[TrackedHead], places: Array, noticeable: NDArray[np.bool_]) -> None:
        """Which id is which person now: as before where that still holds, the rest as near as possible."""
        apart = np.array([_apart(one, places) for one in heads]).reshape(len(heads), len(places))
        cost = np.where(noticeable & (apart <= _NEAR_M), apart, _FAR)
        for row, one in enumerate(heads):
            before = self._matched.get(one.id)
            if before is not None and cost[row, before] < _FAR:
                cost[row, before] = -1.0
        pairs = zip(*linear_sum_assignment(cost), strict=True)
        self._matched = {heads[row].id: int(person) for row, person in pairs if cost[row, person] < _FAR}

    def _identify(self, time_s: float, person: int, identity: int) -> None:
        """That visible person has that id now."""
        before, owner = self._identity.get(person), self._owner.get(identity)
        if before not in (None, identity) or owner not in (None, person):
            self.switches.append(Switch(time_s, person, before, identity, owner, self._absent_s[person]))
        self._owner[identity], self._identity[person] = person, identity
        self._together[person, identity] += 1
        self._absent_s[person] = 0.0

    def _idf1(self) -> float:
        """Part of all heads with the right id if each person keeps one for the whole time (Ristani 2016)."""
        people, ids = (sorted({pair[side] for pair in self._together}) for side in (0, 1))
        times = np.zeros((len(people), len(ids)))
        for (person, identity), count in self._together.items():
            times[people.index(person), ids.index(identity)] = count
        right = times[linear_sum_assignment(times, maximize=True)].sum()
        return float(2 * right / max(self.visible + times.sum() + self.ghosts, 1))


def _apart(one: TrackedHead, places: Array) -> Array:
    """(N,) how far a head is from each person, metres; along the viewing ray less counts."""
    offset = one.head.translation - places
    rays = places / np.linalg.norm(places, axis=1, keepdims=True)
    along = np.einsum("ni,ni->n", offset, rays)
    across = np.linalg.norm(offset - along[:, None] * rays, axis=1)
    return np.hypot(across, along / _DEPTH_TOLERANCE)
