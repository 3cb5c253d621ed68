"""The node over real DDS, with a stand-in network: outputs that agree, laziness, calibration, faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import rclpy
import tf2_ros
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_bad_inputs import BAD_CAMERA_INFOS, BAD_IMAGES, camera_info
from ros_harness import BOXES, CAMERA, FRAME, Robot, SpinningThread, save_stand_in
from ros_outputs import OUTPUTS, ask, assert_outputs_agree, at
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from trg_ros.msg import HeadPoseArray
from visualization_msgs.msg import Marker, MarkerArray

from trg_ros.ros.conversions import image_message
from trg_ros.ros.node import HeadPoseNode

STAND_IN: dict[str, Any] = {"detector": "topic", "threads": 1, "max_faces": 3, "min_score": 0.0}
"""The stand-in network takes everything for a face, so boxes come from us and its doubts don't count."""


class Rig:
    """A node that is active in a thread of this process, and a robot that talks to it."""

    def __init__(self, checkpoint: Path, namespace: str = "/shared", **parameters: Any) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        values = {"checkpoint": str(checkpoint), **STAND_IN, **parameters}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = HeadPoseNode(context=self.context, namespace=namespace, parameter_overrides=overrides)
        self.node.autostart()
        self.thread = SpinningThread(self.node, self.context)
        self.robot = Robot(self.context, namespace)

    def close(self) -> None:
        self.thread.stop()
        self.node.destroy_node()
        self.robot.destroy_node()
        rclpy.try_shutdown(context=self.context)

    @property
    def passes(self) -> int:
        assert self.node.estimator is not None
        return self.node.estimator.forward_passes

    def set(self, **values: Any) -> list[str]:
        """Set parameters as a service call does; returns the reasons of those refused."""
        changes = [Parameter(name, value=value) for name, value in values.items()]
        results = self.thread.call(lambda: self.node.set_parameters(changes))
        return [result.reason for result in results if not result.successful]

    def idle(self) -> bool:
        """Nobody listens, and the node has noticed."""
        return self.robot.spin_until(lambda: self.robot.image_subscribers == 0)

    def ready(self) -> bool:
        """The node listens to us."""
        return self.robot.spin_until(lambda: self.robot.image_subscribers > 0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_stand_in(tmp_path_factory.mktemp("weights") / "stand_in.safetensors")


@pytest.fixture(scope="module")
def shared_rig(checkpoint: Path) -> Iterator[Rig]:
    rig = Rig(checkpoint)
    yield rig
    rig.close()


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    """The same node for most tests; at the beginning of each it is idle, parameters and robot are as new."""
    robot = shared_rig.robot
    robot.heard.clear()
    robot.camera, robot.boxes, robot.frame_id, robot.step_ns = CAMERA, BOXES, FRAME, 33_000_000
    robot.stamp_ns += 10_000_000_000
    yield shared_rig
    for topic in list(robot._subscriptions_of):
        robot.ignore(topic)
    assert shared_rig.idle()
    shared_rig.set(
        assume_fov_deg=0.0,
        max_rate=0.0,
        tf_prefix="",
        publish_tf=True,
        marker_mesh=False,
        publish_landmarks_in_faces=False,
        image_rectified=False,
        marker_landmarks=True,
    )


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
    assert rig.set(publish_tf=False) == []
    assert rig.idle()
    assert rig.set(publish_tf=True, tf_prefix="robot1/") == []
    messages.clear()
    assert robot.spin_until(lambda: messages, sending=True)
    assert messages[-1].transforms[0].child_frame_id == "robot1/face_0"


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


def test_a_filtering_frame_needs_a_tf2_that_listens(checkpoint: Path) -> None:
    rig = Rig(checkpoint, "/filtering", filtering_frame="odom", autostart=False)
    try:
        assert rig.thread.call(rig.node.trigger_configure) == TransitionCallbackReturn.SUCCESS
        result = rig.thread.call(rig.node.trigger_activate)
        if hasattr(tf2_ros, "Buffer"):
            assert result == TransitionCallbackReturn.SUCCESS
        else:
            assert result == TransitionCallbackReturn.FAILURE
            assert diagnostics_say(rig, "filtering_frame is 'odom'", DiagnosticStatus.ERROR)
    finally:
        rig.close()


# How images come


def test_compressed_images_are_subscribed_to_beside_the_raw_topic(checkpoint: Path) -> None:
    rig = Rig(checkpoint, "/compressed", image_transport="compressed")
    try:
        robot = rig.robot
        publisher = robot.create_publisher(CompressedImage, "image/compressed", 5)
        faces = robot.listen("headpose/faces", HeadPoseArray)
        assert robot.spin_until(lambda: publisher.get_subscription_count() == 1)
        assert robot.image_subscribers == 0
        data = cv2.imencode(".jpg", robot.image)[1].tobytes()

        def answered() -> bool:
            message = CompressedImage(header=robot.header(), format="jpeg")
            message.data.frombytes(data)
            robot.publish_about(message.header)
            publisher.publish(message)
            robot.spin(0.1)
            return bool(faces and faces[-1].heads)

        assert robot.spin_until(answered)
        assert (faces[-1].image_width, faces[-1].image_height) == (320, 240)
    finally:
        rig.close()


def test_the_subscriptions_follow_the_publishers_qos(checkpoint: Path) -> None:
    """A sensor that sends its images as best effort, and its calibration once and for all."""
    rig = Rig(checkpoint, "/sensor")
    try:
        robot = rig.robot
        robot.replace_camera(
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        robot.publish_info(camera_info(width=320, height=240, k=CAMERA.K.ravel().tolist()))
        robot.spin(0.3)
        robot.camera = None
        faces = robot.listen("headpose/faces", HeadPoseArray)
        assert robot.spin_until(lambda: faces and faces[-1].heads, sending=True)
        assert not faces[-1].intrinsics_assumed
    finally:
        rig.close()


def test_a_missing_image_is_named_with_the_topics_it_could_be(checkpoint: Path) -> None:
    """The node listens to /lonely/image, the camera is somewhere else."""
    rig = Rig(checkpoint, "/lonely")
    elsewhere = Robot(rig.context, "/elsewhere")
    try:
        robot = rig.robot
        robot.replace_camera(None, None)
        robot.listen("headpose/faces", HeadPoseArray)
        messages = robot.listen("/diagnostics", DiagnosticArray)

        def status() -> Any:
            mine = [m.status[0] for m in messages if m.status[0].name == "/lonely/headpose"]
            return next((s for s in mine if s.level == DiagnosticStatus.WARN), None)

        assert robot.spin_until(status)
        text = status().message
        assert "nobody publishes /lonely/image" in text and "-r image:=" in text
        assert "/elsewhere/image" in text and "/elsewhere/camera_info" in text
        values = {pair.key: pair.value for pair in status().values}
        assert values["missing inputs"] == "image, camera_info, detections"
    finally:
        elsewhere.destroy_node()
        rig.close()


# CameraInfo


def diagnostics_say(rig: Rig, text: str, level: bytes | None = None) -> bool:
    messages = rig.robot.listen("/diagnostics", DiagnosticArray)
    messages.clear()
    name = rig.node.get_fully_qualified_name()

    def said(status: DiagnosticStatus) -> bool:
        return status.name == name and text in status.message and level in (None, status.level)

    return rig.robot.spin_until(lambda: any(said(message.status[0]) for message in messages), sending=True)


def test_without_calibration_there_are_no_poses_and_a_fix_is_named(checkpoint: Path) -> None:
    rig = Rig(checkpoint, "/uncalibrated")
    try:
        robot = rig.robot
        robot.camera = None
        faces = robot.listen("headpose/faces", HeadPoseArray)
        assert diagnostics_say(rig, "camera_info", DiagnosticStatus.WARN)
        assert faces == [] and rig.passes == 0
        assert rig.set(assume_fov_deg=60) == []
        assert robot.spin_until(lambda: faces, sending=True)
        assert faces[-1].intrinsics_assumed
        robot.camera = CAMERA
        assert robot.spin_until(lambda: faces and not faces[-1].intrinsics_assumed, sending=True)
    finally:
        rig.close()


def test_k_of_zeros_another_size_and_recovery(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: faces, sending=True)
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
        assert diagnostics_say(rig, text, DiagnosticStatus.WARN)
        assert faces == [] and rig.passes == before
        robot.camera = good
        assert robot.spin_until(lambda: faces, sending=True)


def test_a_camera_that_zooms_and_changes_size_is_followed(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: faces and len(faces[-1].heads) == 2, sending=True)
    depth = faces[-1].heads[0].pose.pose.position.z
    robot.camera = type(CAMERA).pinhole(2 * CAMERA.fx, 2 * CAMERA.fy, CAMERA.cx, CAMERA.cy, 320, 240)
    assert ask(robot, faces).heads[0].pose.pose.position.z == pytest.approx(2 * depth, rel=0.15)
    image = robot.image
    robot.camera, robot.image = CAMERA.scaled(2.0), np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    robot.boxes = [tuple(2 * np.array(box)) for box in BOXES]
    larger = ask(robot, faces)
    robot.image = image
    assert larger.image_width == 640


def test_the_images_frame_is_used_and_none_means_no_tf(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    tf = robot.listen("/tf", TFMessage)
    assert robot.spin_until(lambda: faces and tf, sending=True)
    robot.frame_id = ""
    assert robot.spin_until(lambda: faces[-1].header.frame_id == "", sending=True)
    robot.spin(0.3)  # what was on its way
    faces.clear()
    tf.clear()
    assert robot.spin_until(lambda: len(faces) > 3, sending=True)
    assert faces[-1].header.frame_id == ""
    assert faces[-1].heads and tf == []
    header = robot.header()
    info = camera_info(width=320, height=240)
    info.header = Header(stamp=header.stamp, frame_id="from_info")
    info.k = CAMERA.K.ravel().tolist()
    robot.publish_info(info)
    robot.camera = None
    robot.spin(0.2)
    robot.send(header)
    assert robot.spin_until(lambda: at(faces, header))
    assert at(faces, header).header.frame_id == "from_info"


# Stamps


def count_of(rig: Rig, name: str) -> int:
    assert rig.node._running is not None
    return rig.node._running.statistics.get(name)


def test_a_repeated_image_is_skipped(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: faces, sending=True)
    header = ask(robot, faces).header
    robot.spin(0.2)
    before, repeated = rig.passes, count_of(rig, "repeated")
    for _ in range(4):
        robot.send(header)
        robot.spin(0.05)
    assert robot.spin_until(lambda: count_of(rig, "repeated") == repeated + 4)
    assert rig.passes == before


def test_time_that_jumps_back_starts_afresh(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: faces and faces[-1].heads, sending=True)
    identity, resets = faces[-1].heads[0].id, count_of(rig, "resets")
    robot.stamp_ns -= 60_000_000_000
    assert ask(robot, faces).heads[0].id != identity
    assert count_of(rig, "resets") == resets + 1
    robot.stamp_ns += 60_000_000_000 + 10_000_000_000  # and ten seconds ahead
    assert ask(robot, faces).heads


def test_stamp_zero_gives_poses_but_no_tf(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    tf = robot.listen("/tf", TFMessage)
    assert robot.spin_until(lambda: faces and tf, sending=True)
    robot.spin(0.3)
    faces.clear()
    tf.clear()
    for _ in range(3):
        robot.send(Header(frame_id=FRAME))
        robot.spin(0.1)
    assert robot.spin_until(lambda: len(faces) >= 2)
    assert all(message.header == Header(frame_id=FRAME) for message in faces)
    assert tf == []


# Bad input, parameters, lifecycle


def test_the_node_outlives_every_bad_message(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: faces, sending=True)
    failed, refused = count_of(rig, "failed"), count_of(rig, "refused")
    robot.spin(0.2)
    for sent, bad in enumerate(BAD_IMAGES, start=1):
        bad.message.header = robot.header()
        robot.publish_image(bad.message)
        assert robot.spin_until(lambda sent=sent: count_of(rig, "refused") == refused + sent), bad.name
    for bad in BAD_CAMERA_INFOS:
        robot.publish_info(bad.message)
    for size in (1, 2):  # good, but without room for a face
        tiny = image_message(robot.header(), np.zeros((size, size, 3), np.uint8))
        robot.publish_image(tiny)
        robot.spin(0.05)
    faces.clear()
    assert robot.spin_until(lambda: faces and faces[-1].heads, sending=True)
    assert count_of(rig, "failed") == failed


def test_a_hundred_faces_are_too_many_and_do_no_harm(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: faces, sending=True)
    failed = count_of(rig, "failed")
    corners = [(32.0 * (i % 10), 24.0 * (i // 10)) for i in range(100)]
    robot.boxes = [(x, y, x + 28.0, y + 22.0) for x, y in corners]
    assert len(ask(robot, faces).heads) <= 3, "max_faces"
    robot.boxes = BOXES
    robot.stamp_ns += 10_000_000_000
    assert 1 <= len(ask(robot, faces).heads) <= 3
    assert count_of(rig, "failed") == failed


def test_bad_boxes_are_refused(rig: Rig) -> None:
    robot = rig.robot
    faces = robot.listen("headpose/faces", HeadPoseArray)
    assert robot.spin_until(lambda: faces, sending=True)
    robot.boxes = [(10.0, 10.0, 5.0, 5.0)]
    assert diagnostics_say(rig, "left < right")
    robot.boxes = BOXES
    faces.clear()
    assert robot.spin_until(lambda: faces, sending=True)


def test_parameters_are_checked_while_running(rig: Rig) -> None:
    assert rig.set(max_rate=-1.0)
    assert rig.set(max_rate="fast")
    assert rig.set(tf_prefix="a b")
    assert "cleanup" in rig.set(max_faces=2)[0]
    assert rig.set(max_rate=15) == []
    assert rig.node.settings.max_rate == 15.0


def test_the_lifecycle_can_be_walked_again_and_again(checkpoint: Path) -> None:
    rig = Rig(checkpoint, "/lifecycle", autostart=False)
    try:
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
        rig.set(checkpoint="/nowhere.safetensors")
        assert call(node.trigger_configure) == TransitionCallbackReturn.FAILURE
        assert diagnostics_say(rig, "/nowhere.safetensors", DiagnosticStatus.ERROR)
        rig.set(checkpoint=str(checkpoint))
        assert call(node.trigger_configure) == TransitionCallbackReturn.SUCCESS
        assert call(node.trigger_activate) == TransitionCallbackReturn.SUCCESS
        assert robot.spin_until(lambda: faces, sending=True)
    finally:
        rig.close()
