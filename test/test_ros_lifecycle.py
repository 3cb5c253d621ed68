"""The node as it is configured, activated and taken down again, and its parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import tf2_ros
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from ros_rig import Rig
from trg_ros.msg import HeadPoseArray


@pytest.mark.fault(
    "`filtering_frame` without a tf2_ros that listens",
    "activation is refused with the reason",
)
def test_a_filtering_frame_needs_a_tf2_that_listens(stand_in: Path) -> None:
    with Rig(stand_in, "/filtering", filtering_frame="odom", autostart=False) as rig:
        assert rig.thread.call(rig.node.trigger_configure) == TransitionCallbackReturn.SUCCESS
        result = rig.thread.call(rig.node.trigger_activate)
        if hasattr(tf2_ros, "Buffer"):
            assert result == TransitionCallbackReturn.SUCCESS
        else:
            assert result == TransitionCallbackReturn.FAILURE
            assert rig.diagnostics_say("filtering_frame is 'odom'", DiagnosticStatus.ERROR)


def test_parameters_are_checked_while_running(rig: Rig) -> None:
    assert rig.set(max_rate=-1.0)
    assert rig.set(max_rate="fast")
    assert rig.set(tf_prefix="a b")
    assert "cleanup" in rig.set(max_faces=2)[0]
    assert rig.set(max_rate=15) == []
    assert rig.node.settings.max_rate == 15.0


@pytest.mark.fault("lifecycle walked again and again, a missing checkpoint in between", "recovers")
def test_the_lifecycle_can_be_walked_again_and_again(stand_in: Path) -> None:
    with Rig(stand_in, "/lifecycle", autostart=False) as rig:
        robot, node, call = rig.robot, rig.node, rig.thread.call
        faces = robot.listen("headpose/faces", HeadPoseArray)
        for _ in range(2):
            assert call(node.trigger_configure) == TransitionCallbackReturn.SUCCESS
            robot.send()
            robot.spin(0.2)
            assert faces == [] and robot.image_subscribers == 0
            for _ in range(2):
                assert call(node.trigger_activate) == TransitionCallbackReturn.SUCCESS
                assert robot.spin_until(lambda: faces, sending=True)
                assert call(node.trigger_deactivate) == TransitionCallbackReturn.SUCCESS
                assert rig.idle()
                robot.spin(0.3)  # what was on its way
                faces.clear()
            assert call(node.trigger_cleanup) == TransitionCallbackReturn.SUCCESS
            assert node.estimator is None
        rig.set(pose_source="pnp")
        assert call(node.trigger_configure) == TransitionCallbackReturn.SUCCESS
        assert node.estimator is not None and node.estimator.backend_name.endswith("PnP")
        assert call(node.trigger_cleanup) == TransitionCallbackReturn.SUCCESS
        rig.set(checkpoint="/nowhere.safetensors", pose_source="trg")
        assert call(node.trigger_configure) == TransitionCallbackReturn.FAILURE
        assert rig.diagnostics_say("/nowhere.safetensors", DiagnosticStatus.ERROR)
        rig.set(checkpoint=str(stand_in))
        assert call(node.trigger_configure) == TransitionCallbackReturn.SUCCESS
        assert call(node.trigger_activate) == TransitionCallbackReturn.SUCCESS
        assert robot.spin_until(lambda: faces, sending=True)
