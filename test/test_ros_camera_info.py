"""Calibrations from messages and back: lens models, region of interest, binning, and what can be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from hypothesis import given, settings
from hypothesis import strategies as st
from ros_bad_inputs import BAD_CAMERA_INFOS, BadInput, assert_complains, camera_info

from trg_ros.camera import CameraModel
from trg_ros.errors import CameraError
from trg_ros.ros.camera_info import camera_model_from_info, info_from_camera_model


@pytest.mark.parametrize("bad", BAD_CAMERA_INFOS, ids=str)
def test_bad_camera_infos_are_refused_with_a_fix(bad: BadInput) -> None:
    with pytest.raises(CameraError) as caught:
        camera_model_from_info(bad.message)
    assert_complains(caught.value, bad)
    assert "assume_fov_deg" in str(caught.value)


cameras: Any = st.builds(
    CameraModel.pinhole,
    fx=st.floats(50, 2000),
    fy=st.floats(50, 2000),
    cx=st.floats(0, 640),
    cy=st.floats(0, 480),
    width=st.just(640),
    height=st.just(480),
    distortion=st.sampled_from(
        [None, [0.1, -0.05, 0.001, 0.002, 0.01], [0.1, 0.01, 0.0, 0.0, 0.0, 0.1, 0.0, 0.01]]
    ),
)


@settings(max_examples=30, deadline=None)
@given(camera=cameras)
def test_camera_info_there_and_back(camera: CameraModel) -> None:
    assert camera_model_from_info(info_from_camera_model(camera, 640, 480)) == camera


def test_fisheye_there_and_back() -> None:
    for name in ("equidistant", "fisheye"):
        info = info_from_camera_model(
            CameraModel.pinhole(300, 300, 320, 240, 640, 480, [0.1, 0.0, 0.01, 0.0], "equidistant"), 640, 480
        )
        info.distortion_model = name
        assert camera_model_from_info(info).distortion_model == "equidistant"


def test_roi_and_binning_move_pixels_as_the_message_defines() -> None:
    """pixel of the image = (pixel of the sensor - offset) / binning."""
    full = camera_model_from_info(camera_info())
    windowed = camera_model_from_info(camera_info(roi=(16, 8, 32, 24), binning_x=2, binning_y=4))
    assert (windowed.width, windowed.height) == (16, 6)
    point = np.array([0.05, -0.03, 0.5])
    np.testing.assert_allclose(windowed.project(point), (full.project(point) - (16, 8)) / (2, 4), atol=1e-9)
    assert camera_model_from_info(camera_info(roi=(0, 0, 64, 48), binning_x=1, binning_y=1)) == full


def test_rectified_images_use_p_and_no_distortion() -> None:
    info = camera_info(d=[0.3, 0.1, 0.0, 0.0, 0.0])
    info.p[0], info.p[3] = 55.0, -5.5
    camera = camera_model_from_info(info, rectified=True)
    assert (camera.fx, camera.fy, camera.is_distorted) == (55.0, 60.0, False)
    with pytest.raises(CameraError, match="image_rectified"):
        camera_model_from_info(camera_info(p=[0.0] * 12), rectified=True)


def test_uncalibrated_cameras_have_k_of_zeros() -> None:
    info = info_from_camera_model(None, 64, 48)
    assert (info.width, info.height) == (64, 48)
    with pytest.raises(CameraError, match="zeros"):
        camera_model_from_info(info)
