"""Which camera an image was taken with, and boxes that come from another node."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Time
from ros_bad_inputs import camera_info
from std_msgs.msg import Header
from trg_ros.msg import FaceBox, FaceBoxArray

from trg_ros.detection import trg_boxes_from_face_boxes
from trg_ros.errors import CameraError, InputError
from trg_ros.ros.boxes import BoxPairing, boxes_from_message
from trg_ros.ros.intrinsics import IntrinsicsStore
from trg_ros.ros.parameters import Settings


def header(stamp_s: int = 1, frame_id: str = "camera") -> Header:
    return Header(stamp=Time(sec=stamp_s), frame_id=frame_id)


def store_with(*messages: Any) -> IntrinsicsStore:
    store = IntrinsicsStore("/cam/camera_info")
    for message in messages:
        message.header.frame_id = message.header.frame_id or "camera"
        store.put(message, now_s=100.0)
    return store


def test_without_camera_info_there_is_no_guess() -> None:
    store = store_with()
    assert not store.received
    with pytest.raises(CameraError, match=r"/cam/camera_info.*assume_fov_deg"):
        store.for_image(header(), 64, 48, Settings(), 100.0)
    intrinsics = store.for_image(header(), 64, 48, Settings(assume_fov_deg=90.0), 100.0)
    assert intrinsics.assumed
    assert intrinsics.camera.fx == pytest.approx(32.0)
    assert "assuming" in intrinsics.warning


def test_k_of_zeros_is_no_calibration() -> None:
    store = store_with(camera_info(k=[0.0] * 9))
    with pytest.raises(CameraError, match=r"/cam/camera_info.*zeros.*cameracalibrator.*assume_fov_deg"):
        store.for_image(header(), 64, 48, Settings(), 100.0)
    assert store.for_image(header(), 64, 48, Settings(assume_fov_deg=60.0), 100.0).assumed


def test_a_good_calibration_wins_over_an_assumption() -> None:
    intrinsics = store_with(camera_info()).for_image(header(), 64, 48, Settings(assume_fov_deg=90.0), 100.0)
    assert not intrinsics.assumed
    assert intrinsics.camera.fx == 60.0
    assert intrinsics.warning == ""


def test_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(CameraError, match=r"128 x 96.*64 x 48.*resize"):
        store_with(camera_info()).for_image(header(), 128, 96, Settings(), 100.0)


def test_the_size_is_that_after_roi_and_binning() -> None:
    store = store_with(camera_info(roi=(16, 8, 32, 24), binning_x=2, binning_y=2))
    camera = store.for_image(header(), 16, 12, Settings(), 100.0).camera
    assert (camera.width, camera.height, camera.fx) == (16, 12, 30.0)


def test_another_frame_is_warned_about_and_the_images_is_used() -> None:
    store = store_with(camera_info())
    intrinsics = store.for_image(header(frame_id="other"), 64, 48, Settings(), 100.0)
    assert "'camera'" in intrinsics.warning and "'other'" in intrinsics.warning
    assert store.for_image(header(frame_id=""), 64, 48, Settings(), 100.0).warning == ""


def test_rectified_images_with_a_distorted_calibration_are_warned_about() -> None:
    lens = {"d": [-0.3, 0.1, 0.0, 0.0, 0.0], "distortion_model": "plumb_bob"}
    store, straight = store_with(camera_info(**lens)), store_with(camera_info())
    for one in (store, straight):
        one.image_topic = "/cam/image_rect_color"
    warning = store.for_image(header(), 64, 48, Settings(), 100.0).warning
    assert "/cam/image_rect_color" in warning and "image_rectified" in warning
    assert store.for_image(header(), 64, 48, Settings(image_rectified=True), 100.0).warning == ""
    assert straight.for_image(header(), 64, 48, Settings(), 100.0).warning == ""
    store.image_topic = "/cam/image_raw"
    assert store.for_image(header(), 64, 48, Settings(), 100.0).warning == ""


def test_a_calibration_that_changes_is_followed() -> None:
    store = store_with(camera_info())
    assert store.for_image(header(), 64, 48, Settings(), 100.0).camera.fx == 60.0
    zoomed = camera_info(k=[90.0, 0.0, 31.5, 0.0, 90.0, 23.5, 0.0, 0.0, 1.0])
    store.put(zoomed, 101.0)
    assert store.for_image(header(), 64, 48, Settings(), 101.0).camera.fx == 90.0
    store.put(camera_info(k=[0.0] * 9), 102.0)
    with pytest.raises(CameraError):
        store.for_image(header(), 64, 48, Settings(), 102.0)


def test_the_calibration_with_the_images_stamp_is_preferred() -> None:
    messages = []
    for second, focal in ((1, 50.0), (2, 60.0), (3, 70.0)):
        message = camera_info(k=[focal, 0.0, 31.5, 0.0, focal, 23.5, 0.0, 0.0, 1.0])
        message.header.stamp.sec = second
        messages.append(message)
    store = store_with(*messages)
    assert store.for_image(header(2), 64, 48, Settings(), 100.0).camera.fx == 60.0
    assert store.for_image(header(9), 64, 48, Settings(), 100.0).camera.fx == 70.0


def test_a_calibration_can_grow_too_old() -> None:
    store, settings = store_with(camera_info()), Settings(camera_info_timeout=2.0)
    assert store.for_image(header(), 64, 48, settings, 101.9).camera.fx == 60.0
    with pytest.raises(CameraError, match=r"3.0 s old.*camera_info_timeout"):
        store.for_image(header(), 64, 48, settings, 103.0)
    assert store.for_image(header(), 64, 48, Settings(), 1e6).camera.fx == 60.0


def face_boxes(*rows: tuple[float, float, float, float, float]) -> FaceBoxArray:
    boxes = [FaceBox(left=a, top=b, right=c, bottom=d, score=e) for a, b, c, d, e in rows]
    return FaceBoxArray(header=header(), boxes=boxes)


def test_face_boxes_are_read() -> None:
    boxes, scores = boxes_from_message(
        face_boxes((1.0, 2.0, 11.0, 14.0, 0.75), (-5.0, -5.0, 5.0, 5.0, 1.0)), 64, 48
    )
    tight = [[1, 2, 11, 14], [-5, -5, 5, 5]]
    np.testing.assert_allclose(boxes, trg_boxes_from_face_boxes(tight))
    np.testing.assert_array_equal(scores, [0.75, 1.0])
    assert boxes_from_message(face_boxes(), 64, 48)[0].shape == (0, 4)


def test_boxes_beside_the_image_cost_nobody_else_a_pose() -> None:
    beside = [(90.0, 2.0, 99.0, 14.0, 1.0), (1.0, -40.0, 11.0, -25.0, 1.0)]
    boxes, scores = boxes_from_message(face_boxes(beside[0], (1.0, 2.0, 11.0, 14.0, 0.75), beside[1]), 64, 48)
    np.testing.assert_allclose(boxes, trg_boxes_from_face_boxes([[1, 2, 11, 14]]))
    np.testing.assert_array_equal(scores, [0.75])


@pytest.mark.parametrize("nested", [True, False], ids=["Humble and later", "Foxy"])
def test_vision_msgs_detections_are_read(nested: bool) -> None:
    centre = SimpleNamespace(x=20.0, y=30.0)
    bbox = SimpleNamespace(
        center=SimpleNamespace(position=centre) if nested else centre, size_x=10.0, size_y=8.0
    )
    result = SimpleNamespace(hypothesis=SimpleNamespace(score=0.5))
    message = SimpleNamespace(
        detections=[SimpleNamespace(bbox=bbox, results=[result]), SimpleNamespace(bbox=bbox, results=[])]
    )
    boxes, scores = boxes_from_message(message, 64, 48)
    np.testing.assert_allclose(boxes, trg_boxes_from_face_boxes([[15, 26, 25, 34]] * 2))
    np.testing.assert_array_equal(scores, [0.5, 1.0])


@pytest.mark.parametrize(
    "row",
    [
        (10.0, 0.0, 5.0, 5.0, 1.0),
        (0.0, 0.0, 0.0, 5.0, 1.0),
        (math.nan, 0.0, 5.0, 5.0, 1.0),
        (0.0, 0.0, math.inf, 5.0, 1.0),
        (0.0, 0.0, 5.0, 5.0, math.nan),
    ],
)
def test_impossible_boxes_are_refused(row: tuple[float, float, float, float, float]) -> None:
    with pytest.raises(InputError, match="detections have a box"):
        boxes_from_message(face_boxes((0.0, 0.0, 5.0, 5.0, 1.0), row), 64, 48)


def test_images_and_boxes_meet_by_their_stamps() -> None:
    pairing = BoxPairing(depth=3)
    images = [SimpleNamespace(header=header(second)) for second in range(10)]
    boxes = [SimpleNamespace(header=header(second)) for second in range(10)]
    assert pairing.add_image(images[1]) is None
    assert pairing.add_boxes(boxes[1]) == (images[1], boxes[1])
    assert pairing.add_boxes(boxes[2]) is None
    assert pairing.add_image(images[2]) == (images[2], boxes[2])
    for image in images[3:8]:
        pairing.add_image(image)
    assert pairing.add_boxes(boxes[3]) is None, "forgotten"
    assert pairing.add_boxes(boxes[6]) == (images[6], boxes[6])
