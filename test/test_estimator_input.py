"""The estimator refuses what it can't use, in a line that says what was wrong."""

import numpy as np
import pytest
from discs import DiscBackend, DiscDetector, checkpoint

from trg_ros.camera import CameraModel
from trg_ros.detection import Detections, FaceDetector
from trg_ros.errors import CheckpointError, DetectorError, DeviceError, InputError
from trg_ros.estimator import HeadPoseEstimator

CAMERA = CameraModel.pinhole(600, 600, 330, 230, 640, 480)
GOOD = np.zeros((480, 640, 3), np.uint8)


@pytest.fixture
def estimator():
    return HeadPoseEstimator(checkpoint(), DiscBackend(), DiscDetector())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image is a NoneType.*cv2.imread gives None"),
        ("photo.png", "image is a str.*read_photo"),
        ([GOOD, GOOD], "image is a list.*one at a time"),
        (np.zeros((480, 640), np.uint8), r"uint8 \(480, 640\)"),
        (np.zeros((480, 640, 4), np.uint8), r"uint8 \(480, 640, 4\)"),
        (np.zeros((480, 640, 3), np.uint16), "uint16"),
        (np.zeros((480, 640, 3), np.float32), "float32"),
        (np.zeros((0, 0, 3), np.uint8), "image is empty"),
        (np.zeros((240, 320, 3), np.uint8), "image is 320x240 but the camera is calibrated for 640x480"),
    ],
)
def test_bad_images(estimator, image, message):
    with pytest.raises(InputError, match=message):
        estimator.estimate(image, CAMERA)
    assert estimator.forward_passes == 0


def test_one_pixel_image(estimator):
    camera = CameraModel.pinhole(1, 1, 0, 0, 1, 1)
    assert estimator.estimate(np.zeros((1, 1, 3), np.uint8), camera) == []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[10, 10, float("nan"), 50]], "box 0 is .*: it must be finite"),
        ([[10, 10, float("inf"), 50]], "it must be finite"),
        ([[10, 10, 60, 60], [10, 10, 10, 50]], "box 1 is .*: right must exceed left"),
        ([[50, 50, 20, 20]], "right must exceed left"),
        ([10, 10, 50, 50], r"shape \(4,\): expected \(N, 4\)"),
        ([[10, 10, 50]], r"shape \(1, 3\)"),
        ([["a", "b", "c", "d"]], "not numbers"),
        ([[10, 10, 60, 60], [700, 10, 750, 60]], "box 1 is .*: it lies outside the 640x480 image"),
        ([[10, -90, 60, -1]], "lies outside"),
    ],
)
def test_bad_boxes(estimator, boxes, message):
    with pytest.raises(InputError, match=message):
        estimator.estimate(GOOD, CAMERA, boxes)


def test_box_where_the_lens_sees_nothing(estimator):
    folding = CameraModel.pinhole(600, 600, 320, 240, 640, 480, [-0.3, 0.0, 0.0, 0.0, 0.0])
    with pytest.raises(InputError, match="sees nothing there"):
        estimator.estimate(GOOD, folding, [[5000, 5000, 5100, 5100]])


def test_other_bad_arguments(estimator):
    with pytest.raises(InputError, match="camera is a ndarray"):
        estimator.estimate(GOOD, np.eye(3))
    with pytest.raises(InputError, match="camera is a NoneType"):
        estimator.estimate(GOOD, None)
    for scores, message in (([0.1, 0.2], "expected 1 numbers in 0..1"), ([90], "in 0..1"), ("a", "not num")):
        with pytest.raises(InputError, match=message):
            estimator.estimate(GOOD, CAMERA, [[0, 0, 9, 9]], scores=scores)
    for refine, message in (("a", "refine is 'a': it must be a whole number"), (-1, "must be at least 0")):
        with pytest.raises(InputError, match=message):
            estimator.estimate(GOOD, CAMERA, [[0, 0, 9, 9]], refine=refine)
    with pytest.raises(InputError, match="camera is a NoneType"):
        estimator.estimate_crops(np.zeros((1, 96, 96, 3), np.uint8), [[0, 0, 9, 9]], None)


def test_bad_settings(packaged):
    for settings, kind, message in (
        ({"checkpoint": 1}, CheckpointError, "checkpoint is a int: expected the path"),
        ({"device": 1}, DeviceError, "device '1' is unknown: use auto, cpu"),
        ({"backend": 1}, InputError, "backend 1 is unknown: use auto"),
        ({"threads": "all"}, InputError, "threads is 'all': it must be a whole number"),
        ({"threads": 0}, InputError, "threads is 0: it must be at least 1"),
    ):
        with pytest.raises(kind, match=message):
            HeadPoseEstimator.load(**{"device": "cpu", **settings})


def test_a_detector_of_ones_own_has_to_behave_like_one():
    with pytest.raises(DetectorError, match="detector is a int"):
        HeadPoseEstimator(checkpoint(), DiscBackend(), 5)

    class Mine(FaceDetector):
        def detect(self, image_bgr):
            return found

    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), Mine())
    found = Detections(np.array([[100, 100, 200, 220]], np.float32), np.ones(1, np.float32))
    (head,) = estimator.estimate(GOOD, CAMERA, refine=0)
    assert head.box[0] < 100 and head.box[2] > 200, "a tight box became TRG's"
    found = [(100, 100, 200, 220)]
    with pytest.raises(DetectorError, match="the detector's answer is a list"):
        estimator.estimate(GOOD, CAMERA)


def test_without_a_detector_boxes_are_needed():
    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), detector=None)
    with pytest.raises(DetectorError, match="give boxes"):
        estimator.estimate(GOOD, CAMERA)
    with pytest.raises(DetectorError, match="'haar' is unknown"):
        HeadPoseEstimator(checkpoint(), DiscBackend(), detector="haar")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        HeadPoseEstimator.load(tmp_path / "none.safetensors", device="cpu")
