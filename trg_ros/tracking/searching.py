"""Looking for faces: at once, or in a thread of its own so that nobody who is tracked has to wait for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows
from trg_ros.estimator import HeadPoseEstimator

#: A detector that takes longer than this is no longer waited for, seconds.
_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Finding:
    """The faces of one image.

    :param windows: N valid windows, best first; scores: (N,) float64, 0..1.
    :param stamp_s: of the image.
    """

    windows: CropWindows
    scores: NDArray[np.float64]
    stamp_s: float


class Searcher(Protocol):
    """What a tracker asks for faces."""

    @property
    def detections(self) -> int:
        """How many images were searched."""

    @property
    def available(self) -> bool:
        """Whether there is a detector at all."""

    def ask(self, image_bgr: NDArray[np.uint8], camera: CameraModel, stamp_s: float) -> bool:
        """Search an image (H, W, 3), which nobody may write into any more. False if it can't be now."""

    def answer(self, wait: bool) -> Finding | None:
        """The finding of the image that was asked for, once; None if there is none yet.

        :param wait: there is nothing better to do than to wait for it.
        :raises DetectorError: what went wrong since it was asked for, as :meth:`HeadPoseEstimator.detect`.
        """

    def forget(self) -> None:
        """Nobody wants to know what is being searched any more."""

    def close(self) -> None:
        """Give threads back, waiting a moment for what has begun. It may be asked again later."""


def find_faces(
    estimator: HeadPoseEstimator,
    image_bgr: NDArray[np.uint8],
    camera: CameraModel,
    stamp_s: float,
    turn: int = 0,
) -> Finding:
    """The faces that the estimator's detector sees in an image (H, W, 3) uint8 BGR.

    :param turn: in every other one the detector's ``other`` is asked, if it has one.
    """
    other = getattr(estimator.detector, "other", None) if turn % 2 else None
    detections = estimator.detect(image_bgr) if other is None else other.detect(image_bgr)
    windows = CropWindows.from_boxes(camera, (other or estimator.detector).trg_boxes(detections))
    scores = np.asarray(detections.scores, np.float64)
    return Finding(windows[windows.valid], scores[windows.valid], stamp_s)


class DirectSearcher:
    """Searches when it is asked: each finding belongs to the image at hand, and is the same each time."""

    def __init__(self, estimator: HeadPoseEstimator) -> None:
        self.detections = self._turn = 0
        self._estimator = estimator
        self._finding: Finding | None = None

    @property
    def available(self) -> bool:
        return self._estimator.has_detector

    def ask(self, image_bgr: NDArray[np.uint8], camera: CameraModel, stamp_s: float) -> bool:
        self._finding = find_faces(self._estimator, image_bgr, camera, stamp_s, self._turn)
        self._turn += 1
        self.detections += 1
        return True

    def answer(self, wait: bool) -> Finding | None:
        finding, self._finding = self._finding, None
        return finding

    def forget(self) -> None:
        self._finding, self._turn = None, 0

    def close(self) -> None:
        self.forget()


class BackgroundSearcher:
    """Searches one image after the other in a thread of its own; detectors release the GIL meanwhile.

    For live images. A finding comes some images late, so results depend on how busy the machine is.
    """

    def __init__(self, estimator: HeadPoseEstimator) -> None:
        self.detections = 0
        self._estimator = estimator
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._search: Future[Finding] | None = None

    @property
    def available(self) -> bool:
        return self._estimator.has_detector

    def ask(self, image_bgr: NDArray[np.uint8], camera: CameraModel, stamp_s: float) -> bool:
        if self._search is not None:
            return False
        if self._thread is None:
            # A daemon, unlike an executor's thread: a detector that hangs must not keep the process alive.
            self._jobs = SimpleQueue()
            self._thread = Thread(target=_work, args=(self._jobs,), name="headpose-detector", daemon=True)
            self._thread.start()
        self._search = Future()
        self._jobs.put(partial(self._find, self._search, image_bgr, camera, stamp_s))
        return True

    def answer(self, wait: bool) -> Finding | None:
        search = self._search
        if search is None:
            return None
        if wait:
            futures.wait([search], _PATIENCE_S)
        if not search.done():
            return None
        self._search = None
        return search.result()

    def forget(self) -> None:
        if self._search is not None:
            self._search.cancel()  # what has begun goes on, but nobody asks for it
        self._search = None

    def close(self) -> None:
        self.forget()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_PATIENCE_S)
        self._thread = None

    def _find(
        self, search: Future[Finding], image_bgr: NDArray[np.uint8], camera: CameraModel, stamp_s: float
    ) -> None:
        if not search.set_running_or_notify_cancel():
            return
        try:
            finding = find_faces(self._estimator, image_bgr, camera, stamp_s, self.detections)
        except BaseException as error:  # for whoever asks for the answer
            search.set_exception(error)
            return
        self.detections += 1
        search.set_result(finding)


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    """Do what comes until None comes."""
    while (job := jobs.get()) is not None:
        job()
