"""What a tracker keeps of heads: whom it knows, where it looks in an image, and what it sees there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trg_ros.crop import CropWindows
from trg_ros.heads import HeadPose
from trg_ros.reidentification import Person


@dataclass
class Track:
    """Somebody: followed from image to image, or lost a moment ago. ``window`` (one) is where to look next.

    :param misses: how often the detector didn't find what is in the window, in a row.
    """

    id: int
    slot: int
    person: Person
    window: CropWindows
    head: HeadPose
    detector_score: float
    misses: int = 0

    def follow(self, sight: Sight, stamp_s: float) -> None:
        """It is seen again."""
        self.person.observe(sight.head.translation, sight.colours, stamp_s, sight.clear)
        self.head, self.window = sight.head, sight.window
        self.detector_score, self.misses = sight.detector_score, sight.misses


@dataclass
class Look:
    """Where to look in one image.

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


@dataclass
class Sight:
    """A head that is seen, and the window that its landmarks ask for.

    :param found: see ``Look``.
    :param colours: see ``trg_ros.appearance``; clear: nobody else is next to it.
    """

    head: HeadPose
    window: CropWindows
    detector_score: float
    misses: int
    found: bool
    colours: NDArray[np.float64] | None
    clear: bool = True


def give_slots(tracks: list[Track], taken: set[int], wanted: set[int], count: int) -> None:
    """Give each of these the lowest of ``count`` free slots, if possible one that nobody wants back."""
    for track in tracks:
        free = set(range(count)) - taken
        track.slot = min(free - wanted or free)
        taken.add(track.slot)
