"""Stamps of images over real DDS: repeated, back in time, far ahead, zero."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Time
from ros_harness import FRAME
from ros_outputs import ask
from ros_rig import Rig
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from trg_ros.msg import HeadPoseArray


@pytest.mark.fault("repeated stamps", "processed once")
def test_a_repeated_image_is_skipped(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    header = ask(robot, faces).header
    robot.spin(0.2)
    before, repeated = rig.passes, rig.count("repeated")
    for _ in range(4):
        robot.send(header)
        robot.spin(0.05)
    assert robot.spin_until(lambda: rig.count("repeated") == repeated + 4)
    assert rig.passes == before


@pytest.mark.fault("time jumps back (looped bag)", "tracks and filters start afresh")
def test_time_that_jumps_back_starts_afresh(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    identity, resets = faces[-1].heads[0].id, rig.count("resets")
    robot.stamp_ns -= 60_000_000_000
    assert ask(robot, faces).heads[0].id != identity
    assert rig.count("resets") == resets + 1


@pytest.mark.fault("images out of order", "the late one is left out, tracks stay; two in a row are a jump")
def test_a_late_image_is_left_out(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    identity = ask(robot, faces).heads[0].id
    late, resets = rig.count("late"), rig.count("resets")

    def send_late(number: int) -> None:
        robot.stamp_ns -= 3 * robot.step_ns
        robot.send()
        assert robot.spin_until(lambda: rig.count("late") + rig.count("resets") == late + resets + number)

    send_late(1)
    robot.stamp_ns += 3 * robot.step_ns
    assert ask(robot, faces).heads[0].id == identity
    assert (rig.count("late"), rig.count("resets")) == (late + 1, resets)
    send_late(2)
    send_late(3)
    assert (rig.count("late"), rig.count("resets")) == (late + 2, resets + 1)
    faces.clear()  # of the same stamps
    assert ask(robot, faces).heads[0].id != identity


@pytest.mark.fault("one stamp 10 s ahead", "answered, and so are those that follow; tracks start afresh")
def test_a_stamp_ten_seconds_ahead_is_no_trap(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    resets = rig.count("resets")
    robot.stamp_ns += 10_000_000_000
    assert ask(robot, faces).heads
    robot.stamp_ns -= 10_000_000_000
    assert ask(robot, faces).heads
    assert rig.count("resets") == resets + 1


@pytest.mark.fault("stamps of zero, or before 1970", "poses, but no TF")
@pytest.mark.parametrize("second", [0, -5])
def test_stamp_zero_gives_poses_but_no_tf(rig: Rig, second: int) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    tf = robot.listen("/tf", TFMessage)
    assert robot.spin_until(lambda: faces and tf, sending=True)
    robot.spin(0.3)
    faces.clear()
    tf.clear()
    header = Header(stamp=Time(sec=second), frame_id=FRAME)
    for _ in range(3):
        robot.send(header)
        robot.spin(0.1)
    assert robot.spin_until(lambda: len(faces) >= 2)
    assert all(message.header == header for message in faces)
    assert tf == []
