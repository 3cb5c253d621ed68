"""Looking for faces beside the pose path: nobody who is tracked waits, and old findings do no harm."""

import threading
from concurrent import futures

import numpy as np
import pytest
from discs import DiscBackend, DiscDetector, checkpoint, draw

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows, square_box
from trg_ros.detection import Detections
from trg_ros.errors import DetectorError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.tracking import HeadTracker
from trg_ros.tracking.matching import carried
from trg_ros.tracking.searching import BackgroundSearcher, find_faces

CAMERA = CameraModel.pinhole(500, 500, 319.5, 239.5, 640, 480)
A, B, C = np.array([-0.3, 0.0, 1.0]), np.array([0.0, 0.1, 0.9]), np.array([0.35, -0.1, 1.1])
LONG_S = 20.0  # only reached by what is broken


class SlowDetector(DiscDetector):
    """Takes as long as the test wants: while `gate` is closed."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.trouble = ""

    def detect(self, image_bgr):
        assert self.gate.wait(LONG_S)
        if self.trouble:
            raise DetectorError(self.trouble)
        return super().detect(image_bgr)


class World:
    """A tracker with a detector in the background, and a clock of 30 frames a second."""

    def __init__(self, **options):
        self.detector = SlowDetector()
        self.estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), self.detector)
        self.tracker = HeadTracker(self.estimator, searcher=BackgroundSearcher(self.estimator), **options)
        self.time_s = 100.0

    def see(self, *centers, step_s=1 / 30):
        self.time_s += step_s
        return self.tracker.update(draw(CAMERA, centers), CAMERA, self.time_s)

    def let_it_finish(self):
        """Whatever is being searched is found before the next frame."""
        self.detector.gate.set()
        futures.wait([self.tracker._searcher._search], LONG_S)


@pytest.fixture
def world():
    world = World(detection_interval=3)
    yield world
    world.detector.gate.set()
    world.tracker.close()


def ids(heads):
    return [tracked.id for tracked in heads]


def test_a_face_keeps_its_score_where_the_lens_sees_nothing_of_another():
    camera = CameraModel.pinhole(600, 610, 310, 250, 640, 480, [-0.3, 0.0, 0.0, 0.0, 0.0])
    seen = [[200, 150, 300, 250], [260, 250, 360, 350]]

    class ThreeFaces(DiscDetector):
        def detect(self, image_bgr):
            boxes = np.array([seen[0], [1e6, 0, 2e6, 10], seen[1]], np.float32)
            return Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32))

    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), ThreeFaces())
    image = draw(camera, np.zeros((0, 3)))
    found = find_faces(estimator, image, camera, 4.5)
    assert found.stamp_s == 4.5 and found.scores == pytest.approx([0.9, 0.7])
    expected = CropWindows.from_boxes(camera, square_box(np.array(seen), 1.4))
    np.testing.assert_allclose(found.windows.normalised, expected.normalised, rtol=1e-5)


def test_known_heads_are_followed_while_faces_are_searched(world):
    assert ids(world.see(A)) == [1], "nobody to follow yet: the first answer is waited for"
    world.detector.gate.clear()
    for frame in range(8):
        heads = world.see(A + [0.01 * frame, 0, 0], B)
        assert ids(heads) == [1]
        assert abs(heads[0].head.translation[0] - A[0] - 0.01 * frame) < 0.02
    assert world.tracker.detections == 1, "the second one hangs; none is queued behind it"
    world.let_it_finish()
    assert ids(world.see(A, B)) == [1, 2]
    assert world.tracker.detections >= 2


def test_what_was_found_where_a_head_was_is_not_a_second_head(world):
    """Long detections and a head that goes a window's width meanwhile."""
    world.see(A)
    world.detector.gate.clear()
    for frame in range(12):
        world.see(A + [0.03 * frame, 0, 0])
    passes = world.estimator.forward_passes
    world.let_it_finish()
    heads = world.see(A + [0.36, 0, 0])
    assert ids(heads) == [1]
    assert world.estimator.forward_passes == passes + 1, "nothing to look at where it was"
    assert world.tracker._people.tracks[0].sight.look.misses == 0


def test_who_came_while_faces_were_searched_was_not_missed(world):
    world.see(A)
    world.detector.gate.clear()
    for _ in range(3):
        world.see(A)
    world.tracker.update(
        draw(CAMERA, [A, C]),
        CAMERA,
        world.time_s,
        boxes=world.detector.trg_boxes(DiscDetector().detect(draw(CAMERA, [A, C]))),
    )
    world.let_it_finish()
    assert ids(world.see(A, C)) == [1, 2]
    assert [track.sight.look.misses for track in world.tracker._people.tracks] == [0, 0]


@pytest.mark.parametrize("background", [False, True])
def test_two_detectors_take_turns_to_find_what_one_of_them_overlooks(background):
    detector = DiscDetector()
    detector.other = DiscDetector()
    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), detector)
    searcher = BackgroundSearcher(estimator) if background else None
    tracker = HeadTracker(estimator, detection_interval=1, searcher=searcher)
    detector.blind = True
    found = [ids(tracker.update(draw(CAMERA, [A]), CAMERA, frame / 30)) for frame in range(3)]
    tracker.close()
    assert found[0] == [] and found[1] == [1]
    assert detector.calls and detector.other.calls


def test_a_reset_and_time_that_jumps_back_forget_what_is_searched(world):
    world.see(A)
    for forget in (world.tracker.reset, lambda: None):
        world.detector.gate.clear()
        for _ in range(4):
            world.see(A, B)
        forget()
        world.detector.gate.set()
        world.time_s -= 50
        heads = world.see(C)
        assert len(heads) == 1, "what was found in images of before would be looked for here"
        assert np.linalg.norm(heads[0].head.translation - C) < 0.02


def test_trouble_of_the_detector_surfaces_and_known_heads_go_on(world):
    world.see(A)
    world.detector.gate.clear()
    world.detector.trouble = "out of order"
    for _ in range(3):
        world.see(A)
    world.let_it_finish()
    with pytest.raises(DetectorError, match="out of order"):
        world.see(A)
    world.detector.trouble = ""
    world.detector.gate.clear()
    for _ in range(4):
        assert ids(world.see(A)) == [1]
    world.let_it_finish()
    assert ids(world.see(A)) == [1]
    assert world.tracker.detections >= 2


def test_a_closed_tracker_has_no_thread_and_starts_again(world):
    def searching():
        return [one for one in threading.enumerate() if one.name.startswith("headpose-detector")]

    world.see(A)
    (thread,) = searching()
    world.tracker.close()
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert ids(world.see(A)) == [2]


def test_a_detector_that_hangs_keeps_neither_the_tracker_nor_the_process(world):
    begun = threading.Event()
    world.detector.gate.clear()
    world.estimator.detect = lambda image: begun.set() or world.detector.detect(image)
    assert world.tracker._searcher.ask(draw(CAMERA, [A]), CAMERA, 1.0)
    assert begun.wait(LONG_S)
    thread = world.tracker._searcher._thread
    world.tracker.close()
    assert thread.is_alive() and thread.daemon
    world.detector.gate.set()
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_a_window_goes_along_with_a_head():
    before, now = (
        CropWindows(np.array([center]), np.array([size]), np.eye(3)[None])
        for center, size in (([0.1, 0.0], 0.2), ([0.3, 0.1], 0.4))
    )
    moved = carried(before, before, now)
    np.testing.assert_allclose(moved.center_in(now), now.center, atol=1e-12)
    np.testing.assert_allclose(moved.size, now.size)
    assert moved.overlap(now)[0] > 0.9
