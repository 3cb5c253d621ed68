"""Heads over time: identities, and boxes from TRG's own landmarks instead of a detection in every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.camera import CameraModel
from trg_ros.checks import check_image, checked_scores
from trg_ros.crop import CropWindows
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPose, HeadPoseEstimator, WindowEstimates, windows_of_boxes
from trg_ros.matching import carried, match_windows
from trg_ros.reidentification import Course, LostHead, LostHeads
from trg_ros.searching import DirectSearcher, Finding, Searcher

Array = NDArray[np.float64]

#: A face that was found replaces its track's own window when they overlap less than this.
_TRUST_OVERLAP = 0.6
#: Two tracks that overlap more than this are one head.
_DUPLICATE_OVERLAP = 0.6
#: A track ends when the detector misses it this many times in a row.
_MAX_MISSES = 3
#: After a longer pause than this, faces are looked for anew.
_MAX_GAP_S = 0.5
#: While somebody is lost, faces are looked for at least every so many frames.
_SEARCH_INTERVAL = 2
#: A track whose head is stranger than this (see Course.strangeness) has caught another one.
_MAX_STRANGENESS = 1.0
#: A face smaller than this many pixels can't be tracked.
_MIN_BOX_PX = 12.0


@dataclass(frozen=True)
class TrackedHead:
    """A head with an identity.

    :param id: from 1, new for each head that appears; a head that is back within 0.8 s keeps it.
    :param slot: 0..max_faces-1, the lowest that was free; used again when the head has left.
    """

    id: int
    slot: int
    head: HeadPose


@dataclass
class _Track:
    """A head that is followed. ``window`` (one window) is where to look next."""

    id: int
    slot: int
    window: CropWindows
    detector_score: float
    misses: int = 0
    head: HeadPose | None = None
    course: Course | None = None


@dataclass
class _Looks:
    """What to look at in one image: the windows of some known tracks, then those of new faces.

    :param tracks: a track for each window; new faces have id 0.
    """

    tracks: list[_Track]
    refine: list[int]


class HeadTracker:
    """Follows the heads of one camera.

    :param detection_interval: the detector runs every so many frames, and whenever nobody is tracked or a
        track is in doubt; 1 runs it on each frame. ``searching`` False turns it off: known heads only.
    :param max_faces: most heads at a time.
    :param min_score: a head whose score falls below isn't reported, and its track ends.
    :param searcher: how faces are looked for; None: at once, so that the same images give the same heads. A
        ``BackgroundSearcher`` doesn't hold up those who are tracked, for live images.
    """

    def __init__(
        self,
        estimator: HeadPoseEstimator,
        detection_interval: int = 5,
        max_faces: int = 8,
        min_score: float = 0.35,
        searcher: Searcher | None = None,
    ) -> None:
        for name, value in (("detection_interval", detection_interval), ("max_faces", max_faces)):
            if value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score is {min_score}: it must lie between 0 and 1")
        self.detection_interval = detection_interval
        self.max_faces = max_faces
        self.min_score = min_score
        self.searching = True
        self._estimator = estimator
        self._searcher = DirectSearcher(estimator) if searcher is None else searcher
        self._next_id = 1
        self.reset()

    @property
    def detections(self) -> int:
        """How many images were searched for faces."""
        return self._searcher.detections

    def close(self) -> None:
        """Forget all heads and give the searcher's thread back."""
        self.reset()
        self._searcher.close()

    def reset(self) -> None:
        """Forget all heads; those that come get new ids."""
        self._tracks: list[_Track] = []
        self._lost = LostHeads()
        self._stamp_s = -np.inf
        self._frames_since_detection = 0
        self._doubt = False
        self._searched: dict[int, CropWindows] = {}  # where heads were in the image that is searched
        self._searcher.forget()

    def update(
        self,
        image_bgr: NDArray[np.uint8],
        camera: CameraModel,
        stamp_s: float,
        boxes: ArrayLike | None = None,
        scores: ArrayLike | None = None,
    ) -> list[TrackedHead]:
        """Heads of the next image, ordered by id.

        :param image_bgr: (H, W, 3) uint8, raw.
        :param stamp_s: time of the image in seconds; if it goes backwards (a looped bag) all tracks are
            forgotten.
        :param boxes: (N, 4) TRG boxes LTRB px of this image's faces, found elsewhere; None: the detector runs
            when it is time to (or, in an estimator without one, only known heads are followed).
        :param scores: (N,) of ``boxes``, 0..1.
        :raises InputError: as :meth:`HeadPoseEstimator.estimate`; known heads stay known.
        :raises DetectorError: as :meth:`HeadPoseEstimator.estimate`.
        """
        check_image(image_bgr, camera)
        if not np.isfinite(stamp_s):
            raise InputError(f"stamp is {stamp_s}: it must be a finite number of seconds")
        if stamp_s < self._stamp_s:
            self.reset()
        self._doubt = self._doubt or stamp_s > self._stamp_s + _MAX_GAP_S
        finding, asked = self._find(image_bgr, camera, stamp_s, boxes, scores)
        self._stamp_s = stamp_s
        self._lost.expire(stamp_s)
        looks = self._plan(self._visible(camera), finding)
        kept = self._look(image_bgr, camera, looks) if looks.tracks else []
        self._lose([track for track in self._tracks if all(track is not one for one in kept)])
        self._number([track for track in kept if not track.id], kept)
        self._tracks = sorted(kept, key=lambda track: track.id)
        if asked:
            self._searched = {track.id: track.window for track in kept}
        return [
            TrackedHead(track.id, track.slot, track.head) for track in self._tracks if track.head is not None
        ]

    def _find(
        self,
        image_bgr: NDArray[np.uint8],
        camera: CameraModel,
        stamp_s: float,
        boxes: ArrayLike | None,
        scores: ArrayLike | None,
    ) -> tuple[Finding | None, bool]:
        """Faces, if somebody gave them or the searcher has found some, of this image or an older one; and
        whether this image is being searched."""
        if boxes is not None:
            windows = windows_of_boxes(camera, boxes)
            return Finding(windows, checked_scores(scores, len(windows)), stamp_s), False
        self._frames_since_detection += 1
        if not (self.searching and self._searcher.available):
            return None, False
        finding = self._searcher.answer(wait=False)
        interval = min(self.detection_interval, _SEARCH_INTERVAL if self._lost else self.detection_interval)
        asked = False
        if self._frames_since_detection >= interval or self._doubt or not self._tracks:
            asked = self._searcher.ask(image_bgr, camera, stamp_s)
        if asked:
            self._frames_since_detection, self._doubt = 0, False
        if finding is None:  # without tracks there is nothing to do meanwhile
            finding = self._searcher.answer(wait=not self._tracks)
        return finding, asked

    def _visible(self, camera: CameraModel) -> list[_Track]:
        """The tracks whose next window has its centre in the image and hasn't collapsed."""
        visible = []
        for track in self._tracks:
            left, top, right, bottom = track.window.to_boxes(camera)[0]
            inside = -1 < left + right < 2 * camera.width - 1 and -1 < top + bottom < 2 * camera.height - 1
            if inside and min(right - left, bottom - top) >= _MIN_BOX_PX:
                visible.append(track)
        self._doubt = self._doubt or len(visible) < len(self._tracks)
        return visible

    def _plan(self, known: list[_Track], finding: Finding | None) -> _Looks:
        """Which windows to look at: known heads where they should be, new ones where they were found."""
        if finding is None:
            return _Looks(known, [0] * len(known))
        windows, scores = finding.windows, finding.scores
        past = None if finding.stamp_s == self._stamp_s else self._searched
        looks = _Looks([], [])
        before = [(past or {}).get(track.id, track.window) for track in known]
        partner = match_windows(before, windows)
        for track, then, index in zip(known, before, partner, strict=True):
            refine = 0
            if index is not None:
                track.misses, track.detector_score = 0, float(scores[index])
                window = windows[index : index + 1]
                if then.overlap(window)[0] < _TRUST_OVERLAP:
                    track.window = window if past is None else carried(window, then, track.window)
                    refine = 1
            elif past is None or track.id in past:  # who has come since wasn't there to be found
                track.misses += 1
            if track.misses <= _MAX_MISSES:
                looks.tracks.append(track)
                looks.refine.append(refine)
        unknown = np.setdiff1d(np.arange(len(windows)), [index for index in partner if index is not None])
        best_first = unknown[np.argsort(-scores[unknown], kind="stable")]
        for index in best_first[: max(0, self.max_faces - len(looks.tracks))]:
            looks.tracks.append(_Track(0, -1, windows[index : index + 1], float(scores[index])))
            looks.refine.append(1)
        return looks

    def _look(self, image_bgr: NDArray[np.uint8], camera: CameraModel, looks: _Looks) -> list[_Track]:
        """Estimate all at once; keep tracks that are sure and have their own head."""
        windows = CropWindows.concatenate([track.window for track in looks.tracks])
        estimates = self._estimator.estimate_windows(image_bgr, camera, windows, np.array(looks.refine))
        detector_scores = np.array([track.detector_score for track in looks.tracks])
        heads = self._estimator.heads(estimates, camera, detector_scores)
        kept: list[_Track] = []
        for index in self._least_strange_first(looks.tracks, heads):
            track, head = looks.tracks[index], heads[index]
            if not self._sure(head, estimates, index):
                self._doubt = self._doubt or track.id > 0
                continue
            window = estimates.implied[index : index + 1]
            if any(window.overlap(other.window)[0] > _DUPLICATE_OVERLAP for other in kept):
                self._doubt = self._doubt or track.id > 0
                continue
            if track.course is not None and self._strangeness(track, head) > _MAX_STRANGENESS:
                self._doubt = True
                track = _Track(0, -1, window, track.detector_score)
            track.head, track.window = head, window
            if track.course is None:
                track.course = Course.of(head, self._stamp_s)
            else:
                track.course.observe(head.translation, self._stamp_s)
            kept.append(track)
        return kept

    def _sure(self, head: HeadPose, estimates: WindowEstimates, index: int) -> bool:
        return head.score >= self.min_score and bool(estimates.implied.valid[index])

    def _strangeness(self, track: _Track, head: HeadPose) -> float:
        """0 for a new head, which isn't expected anywhere."""
        return 0.0 if track.course is None else track.course.strangeness(head.translation, self._stamp_s)

    def _least_strange_first(self, tracks: list[_Track], heads: list[HeadPose]) -> list[int]:
        """If two tracks have the same head, it belongs to the one that expected it there; new ones yield."""
        return sorted(
            range(len(tracks)),
            key=lambda index: (not tracks[index].id, self._strangeness(tracks[index], heads[index])),
        )

    def _lose(self, tracks: list[_Track]) -> None:
        for track in tracks:
            if track.course is not None:
                self._lost.add(LostHead(track.id, track.slot, track.course))

    def _number(self, new: list[_Track], kept: list[_Track]) -> None:
        """Give each new head the identity of the lost one that it is, or one of its own."""
        places = [track.head.translation for track in new if track.head is not None]
        taken = {track.slot for track in kept if track.id}
        for track, lost in zip(new, self._lost.claim(places, self._stamp_s), strict=True):
            if lost is not None and track.head is not None:
                track.id, track.slot = lost.id, lost.slot if lost.slot not in taken else -1
                lost.course.observe(track.head.translation, self._stamp_s)  # it goes where it went before
                track.course = lost.course
                taken.add(track.slot)
        for track in new:
            if not track.id:
                track.id, self._next_id = self._next_id, self._next_id + 1
            if track.slot < 0:
                free = set(range(self.max_faces)) - taken
                track.slot = min(free - self._lost.slots or free)
                taken.add(track.slot)
