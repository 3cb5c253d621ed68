"""The estimator refuses what it can't use, in a line that says what was wrong."""

import numpy as np
import pytest
from discs import DiscBackend, DiscDetector, checkpoint

from trg_ros.camera import CameraModel
from trg_ros.errors import CheckpointError, DetectorError, InputError
from trg_ros.estimator import HeadPoseEstimator

CAMERA = CameraModel.pinhole(600, 600, 330, 230, 640, 480)
GOOD = np.zeros((480, 640, 3), np.uint8)


@pytest.fixture
def estimator():
    return HeadPoseEstimator(checkpoint(), DiscBackend(), DiscDetector())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image is a NoneType"),
        ("photo.png", "image is a str"),
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
    with pytest.raises(InputError, match="expected 1 finite numbers"):
        estimator.estimate(GOOD, CAMERA, [[0, 0, 9, 9]], scores=[0.1, 0.2])


def test_without_a_detector_boxes_are_needed():
    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), detector=None)
    with pytest.raises(DetectorError, match="give boxes"):
        estimator.estimate(GOOD, CAMERA)
    with pytest.raises(DetectorError, match="'haar' is unknown"):
        HeadPoseEstimator(checkpoint(), DiscBackend(), detector="haar")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        HeadPoseEstimator.load(tmp_path / "none.safetensors", device="cpu")
