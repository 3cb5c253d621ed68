"""With the tf2_ros of a ROS distribution: smoothing in a frame that stands still, and our stand-in for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import tf2_ros
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from ros_domain import REPOSITORY
from ros_harness import BOXES, FRAME
from ros_outputs import at
from ros_rig import Rig
from std_msgs.msg import Header
from trg_ros.msg import HeadPoseArray

from trg_ros.ros.smoothing import FixedFrame

pytestmark = pytest.mark.skipif(
    not hasattr(tf2_ros, "Buffer"), reason="this tf2_ros can only send: a ROS distribution has the whole one"
)


class MovingRobot:
    """Its camera turns in odom, and faces move in the picture."""

    def __init__(self, rig: Rig) -> None:
        self._robot = rig.robot
        self._broadcaster = tf2_ros.TransformBroadcaster(rig.robot)
        self.faces = rig.robot.listen("headpose/faces", HeadPoseArray)
        self.raw = rig.robot.listen("headpose/faces_raw", HeadPoseArray)
        self._images = 0

    def smoothed(self, with_transforms: bool = True) -> bool:
        """Whether the node smooths, after some images."""
        for _ in range(6):
            self._send(with_transforms)
        return bool(self.faces[-1].heads[0].pose.pose != self.raw[-1].heads[0].pose.pose)

    def _send(self, with_transforms: bool) -> None:
        robot = self._robot
        self._images += 1
        robot.boxes = [tuple(np.array(BOXES[0]) + 3 * (self._images % 5))]
        header = robot.header()
        if with_transforms:
            transform = TransformStamped(child_frame_id=FRAME)
            transform.header = Header(stamp=header.stamp, frame_id="odom")
            angle = 0.02 * self._images
            transform.transform.rotation.y = float(np.sin(0.5 * angle))
            transform.transform.rotation.w = float(np.cos(0.5 * angle))
            self._broadcaster.sendTransform(transform)
        robot.send(header)
        answered = robot.spin_until(lambda: at(self.faces, header) and at(self.raw, header), timeout_s=3.0)
        assert answered or self._images == 1, f"no answer to image {self._images}"


@pytest.fixture
def rig_in_odom(stand_in: Path) -> Iterator[Rig]:
    with Rig(stand_in, "/moving", backend="torch", filtering_frame="odom") as rig:
        yield rig


@pytest.mark.fault(
    "the robot's TF stops, or jumps back with a looped bag", "poses go on; smoothing comes back with TF"
)
def test_poses_are_smoothed_while_tf_says_where_the_camera_is(rig_in_odom: Rig) -> None:
    robot = MovingRobot(rig_in_odom)
    assert rig_in_odom.robot.spin_until(lambda: robot.faces and robot.raw, sending=True)
    assert not robot.smoothed(with_transforms=False)
    assert robot.smoothed()
    assert not robot.smoothed(with_transforms=False)
    assert robot.smoothed()
    rig_in_odom.robot.stamp_ns -= 60_000_000_000
    assert robot.smoothed(), "a buffer that keeps the later transforms refuses the new ones"


def stand_in_of_tf2() -> Any:
    spec = spec_from_file_location(
        "stand_in_tf2", REPOSITORY / "underlay" / "python" / "tf2_ros" / "__init__.py"
    )
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_camera_that_never_moves_is_known_for_ever(rig_in_odom: Rig) -> None:
    frame = FixedFrame(rig_in_odom.node, "odom")
    mounted = TransformStamped(header=Header(stamp=Time(sec=5), frame_id="odom"), child_frame_id=FRAME)
    mounted.transform.translation.x = 2.0
    frame._buffer.set_transform_static(mounted, "test")
    frame.forget()
    late = frame.fixed_T_camera(Header(stamp=Time(sec=500), frame_id=FRAME))
    np.testing.assert_allclose(late[:3, 3], [2.0, 0.0, 0.0])
    assert frame.known_until_ns(FRAME) == 0
    frame.close()


@pytest.mark.parametrize("method", ["__init__", "sendTransform"])
def test_the_stand_in_takes_what_the_real_one_takes(method: str) -> None:
    ours, theirs = (
        inspect.signature(getattr(module.TransformBroadcaster, method)).parameters
        for module in (stand_in_of_tf2(), tf2_ros)
    )
    assert [(one.name, one.default) for one in ours.values()] == [
        (one.name, one.default) for one in theirs.values()
    ]
