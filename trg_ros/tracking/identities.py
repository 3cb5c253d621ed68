"""Whose heads are seen: who is known keeps an id, who is new gets one, who isn't seen is remembered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.tracking.reidentification import Person, who_is_who
from trg_ros.tracking.tracks import Sight, Track, give_slots

Array = NDArray[np.float64]

#: Who could nearly as well be somebody else is seen for so many seconds before it is decided.
_DOUBT_S = 0.18
#: A lost head is remembered that long (occlusions), seconds.
_KEEP_S = 2.0


class Identities:
    """The people before one camera.

    ``tracks``: those who are seen, by id; 0 as long as it isn't sure who it is. ``lost``: those who were seen
    a moment ago.

    :param slots: so many heads at a time.
    """

    def __init__(self, slots: int) -> None:
        self._slots, self._next_id, self._stamp_s = slots, 1, 0.0
        self.tracks: list[Track] = []
        self.lost: list[Track] = []

    def forget(self) -> None:
        """Nobody is known any more; ids are not used again."""
        self.tracks, self.lost = [], []

    def recognise(self, seen: list[Sight], stamp_s: float) -> bool:
        """Who the heads are that are seen at that time. Whether somebody isn't seen any more."""
        self._stamp_s = stamp_s
        followed = [track for track in self.tracks if track.id]
        remembered = [track for track in self.lost if stamp_s - track.person.course.stamp_s <= _KEEP_S]
        known = followed + remembered
        who, sure = who_is_who(
            [track.person for track in known],
            len(followed),
            [sight.head for sight in seen],
            [sight.colours for sight in seen],
            stamp_s,
        )
        taken = {known[index].slot for index in who if index is not None and index < len(followed)}
        self.tracks = []
        for sight, index, certain in zip(seen, who, sure, strict=True):
            since_s = self._since(sight)
            if not certain and stamp_s - since_s < _DOUBT_S:
                self.tracks.append(Track(0, -1, self._person(sight), sight, since_s))
            elif index is not None:
                track = known[index]
                track.follow(sight, stamp_s)
                if index >= len(followed) and track.slot in taken:
                    track.slot = -1
                taken.add(track.slot)
                self.tracks.append(track)
            elif sight.look.found:  # else a window caught something else; if it is a face, it will be found
                self.tracks.append(Track(self._next_id, -1, self._person(sight), sight, since_s))
                self._next_id += 1
        self.lost = [track for track in known if track not in self.tracks]
        for track in self.lost:
            track.person.lose()
        wanted = {track.slot for track in self.lost}
        without = [track for track in self.tracks if track.id and track.slot < 0]
        give_slots(without, taken, wanted, self._slots)
        self.tracks.sort(key=lambda track: track.id)
        return any(track in self.lost for track in followed)

    def turn(self, rotation: Array, camera: CameraModel) -> None:
        """The camera turned: now_R_before (3, 3)."""
        for track in self.tracks + self.lost:
            track.turn(rotation, camera)

    def _since(self, sight: Sight) -> float:
        """For how long somebody without an id has been seen."""
        before = sight.look.track
        return self._stamp_s if before is None or before.id else before.since_s

    def _person(self, sight: Sight) -> Person:
        return Person.of(sight.head, sight.colours, self._stamp_s)
