"""Calibration files, by camera_calibration or as a message; bad ones are refused by name."""

import pytest

from trg_ros.camera import CameraModel
from trg_ros.camera.calibration import load_camera_yaml
from trg_ros.errors import CameraError, InputError

CALIBRATION = """
image_width: 640
image_height: 480
camera_name: narrow
camera_matrix: {rows: 3, cols: 3, data: [610.0, 0.0, 330.5, 0.0, 590.0, 235.25, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.31, 0.12, 0.0011, -0.0007, -0.02]}
"""
MESSAGE = """
header: {stamp: {sec: 3, nanosec: 0}, frame_id: camera}
height: 480
width: 640
distortion_model: plumb_bob
d: [-0.31, 0.12, 0.0011, -0.0007, -0.02]
k: [610.0, 0.0, 330.5, 0.0, 590.0, 235.25, 0.0, 0.0, 1.0]
binning_x: 0
binning_y: 0
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
"""
NARROW = CameraModel.pinhole(610, 590, 330.5, 235.25, 640, 480, [-0.31, 0.12, 0.0011, -0.0007, -0.02])


def test_camera_yaml(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(CALIBRATION)
    assert load_camera_yaml(path) == NARROW


def test_camera_yaml_in_the_home_folder(tmp_path, monkeypatch):
    """Of `camera_yaml:=~/camera.yaml` no shell makes another path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "camera.yaml").write_text(CALIBRATION)
    assert load_camera_yaml("~/camera.yaml") == NARROW
    with pytest.raises(InputError, match="no such user"):
        load_camera_yaml("~nobody_of_that_name/camera.yaml")


def test_camera_info_as_ros2_topic_echo_prints_it(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(MESSAGE)
    assert load_camera_yaml(path) == NARROW
    path.write_text(MESSAGE + MESSAGE.replace("610.0", "700.0"))
    assert load_camera_yaml(path) == NARROW


def test_region_of_interest_and_binning_of_a_message_count(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(
        MESSAGE.replace("binning_x: 0", "binning_x: 2").replace(
            "x_offset: 0, y_offset: 0", "x_offset: 40, y_offset: 80"
        )
    )
    camera = load_camera_yaml(path)
    assert camera == NARROW.with_roi(40, 80, 600, 400).binned(2, 1)
    assert (camera.fx, camera.cx, camera.cy, camera.width) == (305.0, 145.25, 155.25, 300)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a camera file"),
        ("[1, 2", "not a YAML camera file"),
        ("image_width: 640", "has no camera_matrix"),
        ("image_width: 640\ncamera_matrix:", "has no camera_matrix"),
        ("%YAML:1.0\n---\nimage_width: 640", "camera_calibration writes it"),
        (CALIBRATION.replace("610.0", "0.0061"), "is it in pixels"),
        (CALIBRATION.replace("590.0", "1e12"), "fy is 1e[+]12 px"),
        (MESSAGE.replace("binning_x: 0", "binning_x: two"), "binning_x is 'two'"),
        (MESSAGE.replace("x_offset: 0", "x_offset: 700"), "region of interest"),
        (CALIBRATION.replace("610.0", ".nan"), "camera matrix K contains NaN"),
        (CALIBRATION.replace("image_width: 640", "image_width: zero"), "width is 'zero'"),
        (CALIBRATION.replace("plumb_bob", "[plumb_bob]"), "distortion model .* is not supported"),
        (CALIBRATION.replace("image_width: 640", f"image_width: {'9' * 5000}"), "not a YAML camera file"),
        ("[" * 5000, "not a YAML camera file"),
        ("image_width: 640\nimage_height: 480\ncamera_matrix: {data: }", "K has 0 numbers"),
        (f"image_width: 640\nimage_height: 480\ncamera_matrix: {['x'] * 500}", "K is not numbers: .{,60}$"),
    ],
)
def test_bad_camera_yaml_names_the_file(tmp_path, text, message):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(CameraError, match=message) as caught:
        load_camera_yaml(path)
    assert str(path) in str(caught.value)


def test_missing_camera_yaml(tmp_path):
    with pytest.raises(CameraError, match="can't read camera file"):
        load_camera_yaml(tmp_path / "none.yaml")
