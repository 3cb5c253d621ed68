"""Heads over time: identities, and boxes from TRG's own landmarks instead of a detection in every frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.camera import CameraModel
from trg_ros.checks import check_view, checked_count, checked_scores
from trg_ros.crop import CropWindows
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPose, HeadPoseEstimator
from trg_ros.tracking.appearance import PARTS, colours
from trg_ros.tracking.camera_motion import CameraMotion
from trg_ros.tracking.identities import Identities
from trg_ros.tracking.matching import led, plan_looks
from trg_ros.tracking.searching import DirectSearcher, Finding, Searcher
from trg_ros.tracking.tracks import Look, Sight, Track, clear_parts, hidden_faces, hidden_parts, in_view
from trg_ros.windows import windows_of_boxes

Array = NDArray[np.float64]

#: Two tracks that overlap more than this are one head.
_DUPLICATE_OVERLAP = 0.6
#: Somebody who is alone is looked at for colours that often, seconds.
_COLOURS_S = 0.1
#: A window is moved to where its head should be by now if that is so far, in parts of its side.
_MOVE = 0.05
#: After a longer pause than this, faces are looked for anew.
_MAX_GAP_S = 0.5
#: While somebody is lost, faces are looked for at least every so many frames.
_SEARCH_INTERVAL = 2
#: Intervals between searches count frames at this rate, or as much time where images come more slowly.
_RATE_HZ = 30.0
#: A face smaller than this many pixels can't be tracked.
_MIN_BOX_PX = 12.0


@dataclass(frozen=True)
class TrackedHead:
    """A head with an identity.

    :param id: from 1, new for each head that appears; a head that is back within 2 s where it should be by
        then, looking the same, keeps it.
    :param slot: 0..max_faces-1, the lowest that was free; used again when the head has left.
    """

    id: int
    slot: int
    head: HeadPose


class HeadTracker:
    """Follows the heads of one camera.

    :param detection_interval: the detector runs every so many frames (as often a second as at 30 Hz where
        images come more slowly), and whenever nobody is tracked or a track is in doubt; 1 runs it on each.
        ``searching`` False turns it off: known heads only.
    :param max_faces: most heads at a time.
    :param min_score: a head whose score falls below isn't reported, and its track ends.
    :param searcher: how faces are looked for; None: at once, so that the same images give the same heads. A
        ``BackgroundSearcher`` doesn't hold up those who are tracked, for live images.
    :param mirror: look at the mirror image, too, as ``HeadPoseEstimator.estimate`` does: less error, slower.
    """

    def __init__(
        self,
        estimator: HeadPoseEstimator,
        detection_interval: int = 5,
        max_faces: int = 8,
        min_score: float = 0.35,
        searcher: Searcher | None = None,
        mirror: bool = False,
    ) -> None:
        self.detection_interval = checked_count("detection_interval", detection_interval, least=1)
        self.max_faces = checked_count("max_faces", max_faces, least=1)
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score is {min_score}: it must lie between 0 and 1")
        self.min_score = min_score
        self.mirror = mirror
        self.searching = True
        self._estimator = estimator
        self._searcher = DirectSearcher(estimator) if searcher is None else searcher
        self._people = Identities(self.max_faces)
        self._motion = CameraMotion()
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
        self._people.forget()
        self._motion.forget()
        self._stamp_s = self._colours_s = self._asked_s = -np.inf
        self._frames_since_detection = 0
        self._doubt = False
        self._searched: dict[int, CropWindows] = {}  # where heads were in the image that is searched ...
        self._now_R_searched = np.eye(3)  # ... and how the camera turned since
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
        check_view(image_bgr, camera)
        if not (isinstance(stamp_s, (int, float, np.number)) and np.isfinite(stamp_s)):
            raise InputError(f"stamp is {stamp_s!r}: it must be a finite number of seconds")
        if stamp_s < self._stamp_s:
            self.reset()
        self._doubt = self._doubt or stamp_s > self._stamp_s + _MAX_GAP_S
        self._follow_camera(image_bgr, camera)
        finding, asked = self._find(image_bgr, camera, stamp_s, boxes, scores)
        self._stamp_s = stamp_s
        looks = plan_looks(self._expected(camera), *self._brought_on(finding), self.max_faces)
        seen = self._look(image_bgr, camera, looks) if looks else []
        self._doubt = self._people.recognise(seen, stamp_s) or self._doubt
        known = [track for track in self._people.tracks if track.id]
        if asked:
            self._searched = {track.id: track.sight.window for track in known}
            self._now_R_searched = np.eye(3)
        return [TrackedHead(track.id, track.slot, track.sight.head) for track in known]

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
        nobody, interval = not self._people.tracks, self.detection_interval
        if self._people.lost:
            interval = min(interval, _SEARCH_INTERVAL)
        asked = False
        since_s = stamp_s - self._asked_s
        due = self._frames_since_detection >= interval or since_s > (interval - 0.5) / _RATE_HZ
        if due or self._doubt or nobody:
            asked = self._searcher.ask(image_bgr, camera, stamp_s)
        if asked:
            self._frames_since_detection, self._doubt, self._asked_s = 0, False, stamp_s
        if finding is None:  # without tracks there is nothing to do meanwhile
            finding = self._searcher.answer(wait=nobody)
        return finding, asked

    def _brought_on(self, finding: Finding | None) -> tuple[Finding | None, dict[int, CropWindows] | None]:
        """A finding, and by id where heads were in its image; both as if the camera had been then as it is
        now. None instead of the latter for the image at hand."""
        if finding is None or finding.stamp_s == self._stamp_s:
            return finding, None
        turn = self._now_R_searched
        past = {identity: window.turned(turn) for identity, window in self._searched.items()}
        return replace(finding, windows=finding.windows.turned(turn)), past

    def _follow_camera(self, image_bgr: NDArray[np.uint8], camera: CameraModel) -> None:
        """Whoever is expected somewhere is expected there although the camera turned. Who is alone can't be
        mistaken for anybody: that isn't worth the time."""
        seen = [track.sight.window for track in self._people.tracks]
        if len(seen) < 2 and not self._people.lost:
            self._motion.forget()
            return
        turn = self._motion.turn(image_bgr, camera, CropWindows.concatenate(seen) if seen else None)
        if turn is not None:
            self._people.turn(turn, camera)
            self._now_R_searched = turn @ self._now_R_searched

    def _expected(self, camera: CameraModel) -> list[Look]:
        """Where known heads should be by now: those who are in the image, not too small, and not hidden."""
        looks, depths = [], []
        for track in self._people.tracks:
            sight, course = track.sight, track.person.course
            left, top, right, bottom = sight.box.tolist()
            inside = -1 < left + right < 2 * camera.width - 1 and -1 < top + bottom < 2 * camera.height - 1
            if inside and min(right - left, bottom - top) >= _MIN_BOX_PX:
                before = sight.place
                now = before + course.expected(self._stamp_s) - course.place
                far = np.abs(now - before).max() > _MOVE * sight.window.size[0] * before[2]
                window = led(sight.window, before, now) if far else sight.window
                last = sight.look
                looks.append(Look(window, last.detector_score, last.misses, track, found=not track.id))
                depths.append(float(now[2]))
        return in_view(looks, depths)

    def _look(self, image_bgr: NDArray[np.uint8], camera: CameraModel, looks: list[Look]) -> list[Sight]:
        """Look everywhere at once; what is sure to be a head, each once.

        If two looks show the same head, it is the one that was expected there.
        """
        one = len(looks) == 1
        windows = looks[0].window if one else CropWindows.concatenate([look.window for look in looks])
        refine = np.array([look.refine for look in looks])
        estimates = self._estimator.estimate_windows(image_bgr, camera, windows, refine, self.mirror)
        heads = self._estimator.heads(estimates, camera, np.array([look.detector_score for look in looks]))
        sure = estimates.implied.valid & (np.array([head.score for head in heads]) >= self.min_score)
        chosen = np.flatnonzero(sure)
        if len(chosen) > 1:
            chosen = self._distinct(chosen, looks, heads, estimates.implied)
        if not len(chosen):
            return []
        implied = estimates.implied if one else estimates.implied[chosen]
        depths = [float(heads[index].translation[2]) for index in chosen]
        hidden = hidden_faces(implied, depths)
        clear = np.tile(PARTS, (len(chosen), 1, 1))
        if not one:
            unseen = np.array([i for i, look in enumerate(looks) if look.track and i not in chosen], np.intp)
            tracks = [looks[index].track for index in unseen]
            clear = self._clear(implied, depths, windows[unseen], tracks)
        if not self._looks_closely(looks):
            clear[:] = np.nan
        return [
            Sight(
                heads[index],
                looks[index],
                implied[row : row + 1],
                box,
                colours(image_bgr, box, clear[row].tolist()),
                heads[index].translation,
                float(hidden[row]),
            )
            for row, (index, box) in enumerate(zip(chosen.tolist(), implied.to_boxes(camera), strict=True))
        ]

    def _clear(
        self, seen: CropWindows, depths: list[float], unseen: CropWindows, tracks: list[Track | None]
    ) -> Array:
        """(N, P, 4) what of each part of the N heads that are seen nobody hides; not those either who should
        be there and weren't recognised in this image."""
        windows = CropWindows.concatenate([seen, unseen]) if tracks else seen
        others = [float(track.person.course.expected(self._stamp_s)[2]) for track in tracks if track]
        hidden = hidden_parts(windows, depths + others, PARTS)[: len(seen)]
        return clear_parts(windows, depths + others, PARTS, hidden)

    def _looks_closely(self, looks: list[Look]) -> bool:
        """Whether to read colours in this image, noting it: of somebody alone ten times a second."""
        alone = len(looks) == 1 and looks[0].track is not None and not self._people.lost
        if alone and self._stamp_s - self._colours_s < _COLOURS_S:
            return False
        self._colours_s = self._stamp_s
        return True

    def _distinct(
        self, sure: NDArray[np.intp], looks: list[Look], heads: list[HeadPose], windows: CropWindows
    ) -> NDArray[np.intp]:
        """Those of the heads that are sure that show another one each, the least surprising first."""
        first, second = np.triu_indices(len(windows), 1)
        same = np.zeros((len(windows), len(windows)), np.bool_)
        same[first, second] = windows[first].overlap(windows[second]) > _DUPLICATE_OVERLAP
        if not same.any():
            return sure
        same |= same.T
        chosen: list[int] = []
        surprise = [self._surprise(look.track, head) for look, head in zip(looks, heads, strict=True)]
        for index in sorted(sure.tolist(), key=surprise.__getitem__):
            if not same[index, chosen].any():
                chosen.append(index)
        return np.array(chosen)

    def _surprise(self, track: Track | None, head: HeadPose) -> float:
        """How little a head is where it was expected; new ones are expected nowhere."""
        return np.inf if track is None else sum(track.person.course.surprise(head, self._stamp_s))
