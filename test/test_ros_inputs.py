"""What comes to the node over real DDS: images, frames and boxes, good and bad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_bad_inputs import BAD_CAMERA_INFOS, BAD_IMAGES, camera_info
from ros_harness import BOXES, CAMERA, Robot
from ros_outputs import ask, at
from ros_rig import Rig
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from trg_ros.msg import FaceBox, FaceBoxArray, HeadPoseArray

from trg_ros.ros.conversions import image_message
from trg_ros.ros.inputs import camera_info_topic
from trg_ros.ros.parameters import Settings


def test_compressed_images_are_subscribed_to_beside_the_raw_topic(stand_in: Path) -> None:
    with Rig(stand_in, "/compressed", image_transport="compressed") as rig:
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


class Graph:
    """A node with remappings, and what others publish."""

    def __init__(self, published: Sequence[str] = (), **remapped: str) -> None:
        self._published, self._remapped = published, remapped

    def resolve_topic_name(self, topic: str, only_expand: bool = False) -> str:
        return f"/{topic}" if only_expand else self._remapped.get(topic, f"/{topic}")

    def count_publishers(self, topic: str) -> int:
        return self._published.count(topic)


@pytest.mark.parametrize(
    ("graph", "topic"),
    [
        (Graph(), "/camera_info"),
        (Graph(image="/cam/image_raw"), "/cam/camera_info"),
        (Graph(image="/cam/image_raw", camera_info="/other"), "/other"),
        (Graph(["/camera_info"], image="/cam/image_raw"), "/camera_info"),
        (Graph(["/camera_info", "/cam/camera_info"], image="/cam/image_raw"), "/cam/camera_info"),
    ],
)
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_calibration_is_where_it_is_remapped_to_or_beside_the_images(
    graph: Any, topic: str, transport: str
) -> None:
    assert camera_info_topic(graph, Settings(image_transport=transport)) == topic


@pytest.mark.fault("image and camera_info are one topic", "activation is refused with the reason")
def test_two_inputs_on_one_topic_are_refused(stand_in: Path) -> None:
    arguments = ["--ros-args", "-r", "image:=/same", "-r", "camera_info:=/same"]
    with Rig(stand_in, "/mixed_up", cli_args=arguments) as rig:
        assert rig.diagnostics_say("image and camera_info are both '/same'", DiagnosticStatus.ERROR)


def test_the_calibration_beside_remapped_images_is_found(stand_in: Path) -> None:
    with Rig(stand_in, "/driver", cli_args=["--ros-args", "-r", "image:=/driver/front/image"]) as rig:
        front = Robot(rig.context, "/driver/front")
        try:
            faces = rig.robot.listen("headpose/faces", HeadPoseArray)
            detections = rig.robot.create_publisher(FaceBoxArray, "detections", 5)

            def answered() -> bool:
                header = front.send()
                boxes = [FaceBox(left=100.0, top=60.0, right=200.0, bottom=160.0, score=0.9)]
                detections.publish(FaceBoxArray(header=header, boxes=boxes))
                rig.robot.spin(0.1)
                return bool(faces)

            assert rig.robot.spin_until(answered)
        finally:
            front.destroy_node()


def test_the_subscriptions_follow_the_publishers_qos(stand_in: Path) -> None:
    """A sensor that sends its images as best effort, and its calibration once and for all."""
    with Rig(stand_in, "/sensor") as rig:
        robot = rig.robot
        robot.replace_camera(
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        robot.publish_info(camera_info(width=320, height=240, k=CAMERA.K.ravel().tolist()))
        robot.spin(0.3)
        robot.camera = None
        faces = rig.faces()
        assert not faces[-1].intrinsics_assumed


@pytest.mark.fault("no image", "the topics it could be are named")
def test_a_missing_image_is_named_with_the_topics_it_could_be(stand_in: Path) -> None:
    """The node listens to /lonely/image, the camera is somewhere else."""
    rig = Rig(stand_in, "/lonely")
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


@pytest.mark.fault("no `frame_id`", "poses, but no TF, and a warning")
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


@pytest.mark.fault("image encoding changes mid-stream", "followed with the next image")
def test_an_encoding_that_changes_is_followed(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    identity = faces[-1].heads[0].id
    refused = rig.count("refused")
    for encoding, size in (("mono8", 1), ("rgba8", 4), ("bayer_rggb8", 1), ("mono16", 2)):
        pixels = np.random.default_rng(0).integers(0, 255, (240, 320, size), np.uint8)

        def answered(pixels: np.ndarray = pixels, encoding: str = encoding) -> bool:
            header = robot.header()
            message = Image(header=header, encoding=encoding, width=320, height=240, step=pixels[0].size)
            message.data.frombytes(pixels.tobytes())
            robot.publish_about(header)
            robot.publish_image(message, with_boxes=False)
            robot.spin(0.1)
            return bool(at(faces, header))

        assert robot.spin_until(answered), encoding
        assert faces[-1].heads[0].id == identity
    assert rig.count("refused") == refused


@pytest.mark.fault("damaged images and calibrations", "refused and counted, the next good one is processed")
def test_the_node_outlives_every_bad_message(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    failed, refused = rig.count("failed"), rig.count("refused")
    robot.spin(0.2)
    for sent, bad in enumerate(BAD_IMAGES, start=1):
        bad.message.header = robot.header()
        robot.publish_image(bad.message)
        assert robot.spin_until(lambda sent=sent: rig.count("refused") == refused + sent), bad.name
    for bad in BAD_CAMERA_INFOS:
        robot.publish_info(bad.message)
    for size in (1, 2):  # good, but without room for a face
        tiny = image_message(robot.header(), np.zeros((size, size, 3), np.uint8))
        robot.publish_image(tiny)
        robot.spin(0.05)
    faces.clear()
    assert robot.spin_until(lambda: faces and faces[-1].heads, sending=True)
    assert rig.count("failed") == failed


@pytest.mark.fault("100 faces at once", "the best `max_faces`, no error")
def test_a_hundred_faces_are_too_many_and_do_no_harm(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    failed = rig.count("failed")
    corners = [(32.0 * (i % 10), 24.0 * (i // 10)) for i in range(100)]
    robot.boxes = [(x, y, x + 28.0, y + 22.0) for x, y in corners]
    assert len(ask(robot, faces).heads) <= 3, "max_faces"
    robot.boxes = BOXES
    robot.stamp_ns += 10_000_000_000
    assert 1 <= len(ask(robot, faces).heads) <= 3
    assert rig.count("failed") == failed


@pytest.mark.fault("boxes without area or with NaN", "refused with the reason")
def test_bad_boxes_are_refused(rig: Rig) -> None:
    robot, faces = rig.robot, rig.faces()
    robot.boxes = [(10.0, 10.0, 5.0, 5.0)]
    assert rig.diagnostics_say("left < right")
    robot.boxes = BOXES
    faces.clear()
    assert robot.spin_until(lambda: faces, sending=True)
