"""What the node sends, over real DDS with a stand-in network: outputs that agree, and only for listeners."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import tf2_ros
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from ros_harness import BOXES, CAMERA, FRAME
from ros_outputs import OUTPUTS, ask, assert_outputs_agree, at
from ros_rig import Rig
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from trg_ros.msg import HeadPoseArray
from visualization_msgs.msg import Marker, MarkerArray


def test_all_outputs_agree_and_carry_the_images_stamp_and_frame(rig: Rig) -> None:
    robot = rig.robot
    rig.set(publish_landmarks_in_faces=True)
    heard = {topic: robot.listen(topic, kind) for topic, kind in OUTPUTS.items()}
    heard["headpose/face_0/pose"] = robot.listen("headpose/face_0/pose", PoseStamped)
    assert robot.spin_until(lambda: all(heard.values()), sending=True)
    header = ask(robot, heard["headpose/faces"]).header
    assert robot.spin_until(lambda: all(at(messages, header) for messages in heard.values()))
    found = {topic: at(messages, header) for topic, messages in heard.items()}
    assert_outputs_agree(found, CAMERA, robot.image)
    faces = found["headpose/faces"]
    assert faces.header == header
    assert faces.header.frame_id == FRAME
    assert (faces.image_width, faces.image_height, faces.checkpoint) == (320, 240, "stand-in")
    assert not faces.intrinsics_assumed
    assert [head.slot for head in faces.heads] == [0, 1]


@pytest.mark.parametrize("topic", list(OUTPUTS))
def test_each_output_alone_wakes_the_pipeline(rig: Rig, topic: str) -> None:
    robot = rig.robot
    before = rig.passes
    messages = robot.listen(topic, OUTPUTS[topic])
    assert robot.spin_until(lambda: messages, sending=True)
    assert rig.passes > before
    robot.ignore(topic)
    assert rig.idle()
    robot.spin(0.2)  # what was on its way
    before = rig.passes
    for _ in range(5):
        robot.send()
        robot.spin(0.03)
    assert rig.passes == before


def test_nobody_listening_means_no_work_and_no_subscription(rig: Rig) -> None:
    robot = rig.robot
    assert rig.idle()
    before = rig.passes
    for _ in range(20):
        robot.send()
        robot.spin(0.02)
    assert rig.passes == before
    assert robot.image_subscribers == 0


def test_tf_can_be_turned_off_and_then_does_not_keep_the_node_awake(rig: Rig) -> None:
    robot = rig.robot
    messages = robot.listen("/tf", TFMessage)
    assert robot.spin_until(lambda: messages, sending=True)
    assert messages[-1].transforms[0].child_frame_id == "shared/face_0", "the namespace by default"
    assert rig.set(publish_tf=False) == []
    assert rig.idle()
    assert rig.set(publish_tf=True, tf_prefix="robot1/") == []
    messages.clear()

    def named() -> bool:
        return any(message.transforms[0].child_frame_id == "robot1/face_0" for message in messages)

    assert robot.spin_until(named, sending=True)


class OwnListener:
    """As tf2_ros.TransformListener: the node itself subscribes to /tf."""

    def __init__(self, buffer: Any, node: Any) -> None:
        self._node, self._subscription = node, node.create_subscription(TFMessage, "/tf", lambda _: None, 1)

    def unregister(self) -> None:
        self._node.destroy_subscription(self._subscription)


def test_listening_to_tf_itself_does_not_keep_the_node_awake(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, stand_in_class in (("Buffer", MagicMock), ("TransformListener", OwnListener)):
        monkeypatch.setattr(tf2_ros, name, stand_in_class, raising=False)
    monkeypatch.setattr(tf2_ros, "TransformException", LookupError, raising=False)
    with Rig(stand_in, "/listening", filtering_frame="odom", smoothing=False) as rig:
        assert rig.node.outputs is not None
        tf = rig.node.outputs._broadcaster.pub_tf
        assert rig.robot.spin_until(lambda: tf.get_subscription_count() == 1)
        rig.robot.spin(0.6)
        assert rig.robot.image_subscribers == 0
        messages = rig.robot.listen("/tf", TFMessage)
        assert rig.robot.spin_until(lambda: messages, sending=True)
        rig.robot.ignore("/tf")
        assert rig.idle()


def test_the_mirror_can_be_asked_for_while_the_node_runs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator, mirrored = rig.node.estimator, []
    assert estimator is not None
    infer = estimator._infer

    def seen(crops: Any, windows: Any, mirror: bool = False) -> Any:
        mirrored.append(mirror)
        return infer(crops, windows, mirror)

    monkeypatch.setattr(estimator, "_infer", seen)
    rig.robot.listen("headpose/faces", HeadPoseArray)
    assert rig.robot.spin_until(lambda: mirrored, sending=True)
    assert not any(mirrored)
    assert rig.set(mirror=True) == []
    assert rig.robot.spin_until(lambda: any(mirrored), timeout_s=60.0, sending=True)


def test_markers_of_faces_that_left_are_deleted(rig: Rig) -> None:
    robot = rig.robot
    rig.set(marker_mesh=True)
    messages = robot.listen("headpose/landmarks", MarkerArray)
    assert robot.spin_until(lambda: messages and len(messages[-1].markers) == 6, sending=True)
    meshes = [marker for marker in messages[-1].markers if marker.ns == "mesh"]
    assert rig.node.estimator is not None
    triangles = rig.node.estimator.checkpoint.topology.triangles
    assert all(len(mesh.points) == 3 * len(triangles) for mesh in meshes)
    robot.boxes = BOXES[:1]
    robot.stamp_ns -= 5_000_000_000  # start afresh: only one face is there
    assert robot.spin_until(
        lambda: any(marker.action == Marker.DELETEALL for message in messages for marker in message.markers),
        sending=True,
    )
    assert robot.spin_until(lambda: len(messages[-1].markers) == 3, sending=True)
    messages.clear()
    rig.set(marker_mesh=False)
    assert robot.spin_until(lambda: len(messages) > 2, sending=True)
    deleted = [(m.ns, m.id) for message in messages for m in message.markers if m.action == Marker.DELETE]
    assert deleted == [("mesh", 0)]


def test_an_image_without_a_face_gives_an_empty_list(rig: Rig) -> None:
    robot = rig.robot
    robot.boxes = []
    messages = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: messages, sending=True)
    assert messages[0].heads == []


@pytest.mark.fault("images stop", "markers are taken back after 2 s")
def test_reset_starts_afresh_and_markers_go_when_images_stop(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    markers = robot.listen("headpose/landmarks", MarkerArray)
    assert robot.spin_until(lambda: faces and faces[-1].heads and markers, sending=True)
    identity = faces[-1].heads[0].id
    assert robot.call(Trigger, "headpose/reset", Trigger.Request()).success
    assert ask(robot, faces).heads[0].id > identity
    refused = robot.call(SetBool, "headpose/set_detector", SetBool.Request(data=False))
    assert not refused.success and "detector: topic" in refused.message
    robot.spin(0.3)
    markers.clear()
    assert robot.spin_until(lambda: markers), "no image for two seconds"
    assert [marker.action for marker in markers[-1].markers] == [Marker.DELETEALL]


def test_diagnostics_have_the_numbers(rig: Rig) -> None:
    robot = rig.robot
    robot.listen("headpose/faces", HeadPoseArray)
    messages = robot.listen("/diagnostics", DiagnosticArray)

    def numbers() -> dict[str, str]:
        mine = [m.status[0] for m in messages if m.status[0].name == "/shared/headpose"]
        values = {pair.key: pair.value for pair in mine[-1].values} if mine else {}
        return values if float(values.get("processed rate (Hz)", 0.0)) > 0.0 else {}

    assert robot.spin_until(numbers, sending=True)
    values = numbers()
    assert float(values["input rate (Hz)"]) > 0.0
    assert float(values["detector rate (Hz)"]) == float(values["detector failures"]) == 0.0
    assert float(values["processing p95 (s)"]) >= float(values["processing p50 (s)"]) > 0.0
    assert float(values["latency p95 (s)"]) >= float(values["latency p50 (s)"])
    assert values["age (s)"] and values["GPU memory (MB)"] == ""
    assert (values["faces"], values["device"], values["checkpoint"]) == ("2", "cpu", "stand-in")
    assert values["outputs wanted"] == "faces"


def test_smoothing_is_live_and_the_raw_poses_stay(rig: Rig) -> None:
    robot = rig.robot
    faces, raw = (robot.listen(topic, HeadPoseArray) for topic in ("headpose/faces", "headpose/faces_raw"))
    assert robot.spin_until(lambda: faces and raw and faces[-1].heads, sending=True)
    for smoothing in (False, True):
        assert rig.set(smoothing=smoothing) == []
        for step in range(4):
            moved = [tuple(np.array(box) + 3 * step) for box in BOXES]
            robot.boxes = moved
            header = ask(robot, faces).header
        assert robot.spin_until(lambda header=header: at(raw, header))
        smoothed, measured = at(faces, header).heads[0], at(raw, header).heads[0]
        assert (smoothed.pose.pose == measured.pose.pose) is not smoothing
        assert smoothed.pose.covariance.tolist() == measured.pose.covariance.tolist()
