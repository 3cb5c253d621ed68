"""Smoothing in a fixed frame: transforms asked for at the image's stamp, and what happens without them."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

import tf2_ros
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from std_msgs.msg import Header

from trg_ros.errors import InputError
from trg_ros.ros.smoothing import FixedFrame


class Missing(Exception):
    """As tf2_ros.TransformException."""


class Buffer:
    """Knows where the camera was at second 5, and a rotation that is none of second 8."""

    def lookup_transform(self, target: str, source: str, time: Any, timeout: Any) -> TransformStamped:
        if time.nanoseconds == 8_000_000_000:
            stamped = TransformStamped()
            stamped.transform.rotation.w = 0.0
            return stamped
        if time.nanoseconds != 5_000_000_000:
            raise Missing("extrapolation into the future")
        stamped = TransformStamped()
        stamped.transform.translation.x = 2.0
        stamped.transform.rotation.z = stamped.transform.rotation.w = 0.5**0.5
        assert (target, source) == ("odom", "camera")
        return stamped


def header(second: int) -> Header:
    return Header(stamp=Time(sec=second), frame_id="camera")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """With a tf2_ros that listens; one element for each listener that was closed."""
    closed: list[bool] = []
    listener = SimpleNamespace(unregister=lambda: closed.append(True))
    monkeypatch.setattr(tf2_ros, "Buffer", Buffer, raising=False)
    monkeypatch.setattr(tf2_ros, "TransformListener", lambda buffer, node: listener, raising=False)
    monkeypatch.setattr(tf2_ros, "TransformException", Missing, raising=False)
    return closed


def test_the_camera_is_looked_up_at_the_images_stamp(closed: list[bool]) -> None:
    frame = FixedFrame(SimpleNamespace(), "odom")  # type: ignore[arg-type]
    fixed_T_camera = frame.fixed_T_camera(header(5))
    expected = [[0, -1, 0, 2], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(fixed_T_camera, expected, atol=1e-12)
    with pytest.raises(InputError, match="no transform from camera to filtering_frame odom"):
        frame.fixed_T_camera(header(6))
    with pytest.raises(InputError, match="from camera to filtering_frame odom has a quaternion of zeros"):
        frame.fixed_T_camera(header(8))
    frame.close()
    assert closed


def test_a_tf2_that_only_sends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tf2_ros, "Buffer", raising=False)
    with pytest.raises(InputError, match="can't listen to transforms"):
        FixedFrame(SimpleNamespace(), "odom")  # type: ignore[arg-type]


def test_a_tf_transformations_that_does_not_load_is_refused(
    closed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf_transformations", None)
    with pytest.raises(InputError, match=r"filtering_frame needs tf_transformations.*transforms3d"):
        FixedFrame(SimpleNamespace(), "odom")  # type: ignore[arg-type]
