"""Calibrations over real DDS: late, useless, changing, gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticStatus
from ros_bad_inputs import camera_info
from ros_harness import BOXES, CAMERA
from ros_outputs import ask
from ros_rig import Rig
from trg_ros.msg import HeadPoseArray


@pytest.mark.fault(
    "no `camera_info`",
    "no poses; the topic and the fix are named every 5 s and in `/diagnostics`",
)
def test_without_calibration_there_are_no_poses_and_a_fix_is_named(stand_in: Path) -> None:
    with Rig(stand_in, "/uncalibrated") as rig:
        robot = rig.robot
        robot.camera = None
        faces = robot.listen("headpose/faces", HeadPoseArray)
        assert rig.diagnostics_say("camera_info", DiagnosticStatus.WARN)
        assert faces == [] and rig.passes == 0
        assert rig.set(assume_fov_deg=60) == []
        assert robot.spin_until(lambda: faces, sending=True)
        assert faces[-1].intrinsics_assumed
        robot.camera = CAMERA
        assert robot.spin_until(lambda: faces and not faces[-1].intrinsics_assumed, sending=True)


@pytest.mark.fault("`K` of zeros, or of another image size", "no poses until a usable one comes")
def test_k_of_zeros_another_size_and_recovery(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    good = robot.camera
    for info, text in (
        (camera_info(width=320, height=240, k=[0.0] * 9), "zeros"),
        (camera_info(), "64 x 48"),
    ):
        robot.camera = None
        robot.publish_info(info)
        robot.spin(0.3)
        faces.clear()
        before = rig.passes
        assert rig.diagnostics_say(text, DiagnosticStatus.WARN)
        assert faces == [] and rig.passes == before
        robot.camera = good
        assert robot.spin_until(lambda: faces, sending=True)


def leftmost_depth(message: HeadPoseArray) -> float:
    """Metres; whoever jumps to twice the distance may get a new id, so their order can change."""
    return min(message.heads, key=lambda head: head.box.left).pose.pose.position.z


@pytest.mark.fault(
    "calibration or resolution changes mid-stream",
    "followed with the next image; filters start afresh",
)
def test_a_camera_that_zooms_and_changes_size_is_followed(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces(heads=2)
    depth = leftmost_depth(faces[-1])
    robot.camera = type(CAMERA).pinhole(2 * CAMERA.fx, 2 * CAMERA.fy, CAMERA.cx, CAMERA.cy, 320, 240)
    assert leftmost_depth(ask(robot, faces)) == pytest.approx(2 * depth, rel=0.15)
    image = robot.image
    robot.camera, robot.image = CAMERA.scaled(2.0), np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    robot.boxes = [tuple(2 * np.array(box)) for box in BOXES]
    larger = ask(robot, faces)
    robot.image = image
    assert larger.image_width == 640


@pytest.mark.fault(
    "`camera_info` stops coming",
    "the last one holds; with `camera_info_timeout` poses stop, the topic is named",
)
def test_a_calibration_that_stops_coming(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    robot.camera = None
    robot.spin(0.5)
    assert ask(robot, faces).heads, "no timeout: it holds"
    assert rig.set(camera_info_timeout=0.4) == []
    assert rig.diagnostics_say("camera_info_timeout is 0.4", DiagnosticStatus.WARN)
    faces.clear()
    for _ in range(5):
        robot.send()
        robot.spin(0.05)
    assert faces == []
    robot.camera = CAMERA
    assert robot.spin_until(lambda: faces and faces[-1].heads, sending=True)
