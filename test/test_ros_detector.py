"""A detector that fails or hangs: known heads are followed, it is said, and it is tried again."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from discs import DiscBackend, DiscDetector, checkpoint, draw
from ros_harness import Recorder

from trg_ros.camera import CameraModel
from trg_ros.errors import DetectorError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.ros.guarded_searcher import GuardedSearcher
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.statistics import Statistics
from trg_ros.tracking import HeadTracker
from trg_ros.tracking.searching import DirectSearcher

CAMERA = CameraModel.pinhole(500, 500, 319.5, 239.5, 640, 480)
A, B = np.array([-0.3, 0.0, 1.0]), np.array([0.3, 0.1, 0.9])


class Trouble:
    """A detector that raises what it is told to, a tracker that uses it, a clock of 10 frames a second."""

    def __init__(self) -> None:
        self.raises: BaseException | None = None
        self.now_s = 100.0
        self.searches = 0
        self.statistics, self.recorder = Statistics(), Recorder()
        detector = DiscDetector()
        self._detect = detector.detect
        detector.detect = self.detect
        estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), detector)
        log = ThrottledLog(self.recorder)  # type: ignore[arg-type]
        self.searcher = GuardedSearcher(
            DirectSearcher(estimator), self.statistics, log, clock=lambda: self.now_s
        )
        self.tracker = HeadTracker(estimator, detection_interval=1, searcher=self.searcher)

    def detect(self, image_bgr):
        self.searches += 1
        if self.raises is not None:
            raise self.raises
        return self._detect(image_bgr)

    def see(self, *centers):
        self.now_s += 0.1
        return [head.id for head in self.tracker.update(draw(CAMERA, centers), CAMERA, self.now_s)]


@pytest.mark.fault("the detector raises", "known heads are followed; reported; tried again every second")
@pytest.mark.parametrize("error", [DetectorError("library gone"), ZeroDivisionError("bug"), MemoryError()])
def test_known_heads_are_followed_while_the_detector_fails(error):
    trouble = Trouble()
    assert trouble.see(A) == [1]
    trouble.raises, before = error, trouble.searches
    for _ in range(30):
        assert trouble.see(A, B) == [1]
    assert 2 <= trouble.searches - before <= 4
    assert trouble.statistics.get("detector failures") == trouble.searches - before
    assert type(error).__name__ in trouble.statistics.detector_problem
    assert [kind for kind, _ in trouble.recorder.lines] == ["error"]
    trouble.raises = None
    for _ in range(12):
        seen = trouble.see(A, B)
    assert seen == [1, 2]
    assert trouble.statistics.detector_problem == ""


class Silent:
    """A searcher whose detector never comes back."""

    detections, available = 0, True

    def ask(self, image_bgr, camera, stamp_s):
        return True

    def answer(self, wait):
        return None

    def forget(self):
        pass


@pytest.mark.fault("the detector hangs", "known heads are followed; reported after 5 s")
def test_a_detector_that_hangs_is_reported():
    trouble = Trouble()
    assert trouble.see(A) == [1]
    trouble.searcher._searcher = Silent()
    for _ in range(45):
        assert trouble.see(A) == [1]
    assert trouble.statistics.detector_problem == ""
    for _ in range(10):
        assert trouble.see(A) == [1]
    assert "hasn't answered for 5 s" in trouble.statistics.detector_problem
