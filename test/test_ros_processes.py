"""The node as a process, as users run it: known heads come back, a camera from a photo, signals, bags."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cli_files import with_exif

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from ros_domain import REPOSITORY
from ros_harness import Robot
from ros_outputs import OUTPUTS, ask, assert_outputs_agree, at, pose_matrix
from sensor_msgs.msg import CameraInfo, Image

from trg_ros.camera import CameraModel
from trg_ros.checkpoint import CheckpointInfo
from trg_ros.geometry import head_T_face
from trg_ros.media.exif import focal_length_px

NODE, SOURCE = "trg_ros.ros.node", "trg_ros.ros.video_source"
RENDERED = Path(__file__).parent / "data" / "rendered"
FOCAL_LENGTH_35MM = 0xA405
TF_MESSAGE_HASH = "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
"""Of the official tf2_msgs/msg/TFMessage."""


def heard_by(robot: Robot, slots: int) -> dict[str, list[Any]]:
    heard = {topic: robot.listen(topic, kind) for topic, kind in OUTPUTS.items()}
    for slot in range(slots):
        topic = f"headpose/face_{slot}/pose"
        if topic not in heard:
            heard[topic] = robot.listen(topic, PoseStamped)
    return heard


def true_faces(picture: dict[str, Any]) -> list[np.ndarray]:
    """camera_T_face (4, 4) of every head."""
    return [
        np.array(head["camera_T_head"]) @ head_T_face(np.array(head["sellion_head"]))
        for head in picture["heads"]
    ]


def rotation_error_deg(a: np.ndarray, b: np.ndarray) -> float:
    cosine = 0.5 * (np.trace(a[:3, :3].T @ b[:3, :3]) - 1.0)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


@pytest.mark.usefixtures("with_detector")
def test_heads_of_known_pose_come_back_where_they_are(
    robot: Robot, start: Any, packaged: CheckpointInfo
) -> None:
    """Rendered pictures through DDS to the node and back: every output, against each other and the truth."""
    pictures = json.loads((RENDERED / "labels.json").read_text())["pictures"]
    start(NODE, threads=1, publish_landmarks_in_faces=True, detection_max_side=640, min_score=0.0)
    heard = heard_by(robot, slots=3)
    faces = heard["headpose/faces"]
    errors = []
    for picture in pictures:
        k = np.array(picture["K"])
        robot.camera = CameraModel.from_matrix(k, picture["width"], picture["height"])
        robot.image = cv2.imread(str(RENDERED / picture["file"]))
        robot.stamp_ns += 10_000_000_000  # another scene, not a jump of the heads
        assert robot.spin_until(lambda: faces, timeout_s=60.0, sending=True), "no answer at all"
        answer = ask(robot, faces)
        truth = true_faces(picture)
        assert len(answer.heads) == len(truth), picture["file"]
        topics = [topic for topic in heard if "/pose" not in topic]
        topics += [f"headpose/face_{head.slot}/pose" for head in answer.heads]

        def found(topics: list[str] = topics, header: Any = answer.header) -> dict[str, Any]:
            return {topic: at(heard[topic], header) for topic in topics}

        assert robot.spin_until(lambda found=found: all(found().values()))
        assert_outputs_agree(found(), robot.camera, robot.image)
        estimates = [pose_matrix(head.pose.pose) for head in answer.heads]
        errors += [errors_of(nearest(camera_T_face, estimates), camera_T_face) for camera_T_face in truth]
    stated = packaged.measured_errors
    rotation_deg = stated["geodesic_mean_deg"]
    std_x, std_y, std_z = stated["translation_std_relative"]
    rotation, across, along = np.array(errors).T
    assert rotation.mean() < 1.5 * rotation_deg and rotation.max() < 4.0 * rotation_deg, rotation
    assert across.max() < 4.0 * max(std_x, std_y), across
    assert along.mean() < 1.5 * std_z and along.max() < 4.0 * std_z, along


def nearest(camera_T_face: np.ndarray, estimates: list[np.ndarray]) -> np.ndarray:
    return min(estimates, key=lambda estimate: float(np.linalg.norm((estimate - camera_T_face)[:3, 3])))


def errors_of(estimate: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Rotation in degrees; translation across and along the viewing ray, over the distance."""
    distance = float(np.linalg.norm(truth[:3, 3]))
    ray = truth[:3, 3] / distance
    error = (estimate - truth)[:3, 3] / distance
    along = float(ray @ error)
    return rotation_error_deg(estimate, truth), float(np.linalg.norm(error - along * ray)), abs(along)


@pytest.mark.usefixtures("with_detector")
def test_a_photo_seen_by_a_moving_camera_reaches_every_output_and_a_bag(
    robot: Robot, start: Any, stand_in: Path, astronaut_bgr: np.ndarray, tmp_path: Path
) -> None:
    """video_source -> DDS -> node -> DDS -> bag -> rosbags: three processes and nobody in between."""
    photo = tmp_path / "astronaut.png"
    cv2.imwrite(str(photo), astronaut_bgr)
    start(SOURCE, source=photo, fov_deg=45, motion="orbit", width=320, height=240, rate=10, frame_id="cam")
    start(NODE, checkpoint=stand_in, threads=1, min_score=0.0, max_faces=2, publish_landmarks_in_faces=True)
    robot.camera, robot.boxes = None, []
    heard = {topic: robot.listen(topic, kind) for topic, kind in OUTPUTS.items() if "face_1" not in topic}
    heard["headpose/face_0/pose"] = robot.listen("headpose/face_0/pose", PoseStamped)
    heard["/diagnostics"] = robot.listen("/diagnostics", DiagnosticArray)
    assert robot.spin_until(lambda: all(heard.values()), timeout_s=60.0)
    faces = [message for message in heard["headpose/faces"] if message.heads]
    assert faces[-1].header.frame_id == "cam"
    assert faces[-1].header.stamp.sec > 1_000_000_000
    hashes = [str(info.topic_type_hash) for info in robot.get_publishers_info_by_topic("/tf")]
    assert set(hashes) == {TF_MESSAGE_HASH}
    bag_is_read_back(tmp_path / "bag", heard)


def bag_is_read_back(path: Path, heard: dict[str, list[Any]]) -> None:
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from trg_ros.demo.bag import Bag, typestore_with

    with Bag(path, REPOSITORY / "msg") as bag:
        for topic, messages in heard.items():
            kind = type(messages[-1])
            name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
            bag.write(topic, name, 1_000, serialize_message(messages[-1]))
    typestore = typestore_with(REPOSITORY / "msg")
    with rosbag2.Reader(path) as reader:
        read = {
            connection.topic: typestore.deserialize_cdr(data, connection.msgtype)
            for connection, _, data in reader.messages()
        }
    assert sorted(read) == sorted(heard)
    for topic, messages in heard.items():
        if hasattr(messages[-1], "header"):
            assert read[topic].header.frame_id == messages[-1].header.frame_id
            assert read[topic].header.stamp.nanosec == messages[-1].header.stamp.nanosec
    head, original = read["headpose/faces"].heads[0], heard["headpose/faces"][-1].heads[0]
    np.testing.assert_array_equal(pose_matrix(head.pose.pose), pose_matrix(original.pose.pose))
    np.testing.assert_array_equal(head.landmarks68_image, original.landmarks68_image)
    np.testing.assert_array_equal(head.landmarks, original.landmarks)


def test_the_video_source_ends_cleanly(robot: Robot, start: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), robot.image)
    images, infos = robot.listen("image", Image), robot.listen("camera_info", CameraInfo)
    source = start(SOURCE, source=photo, rate=5)
    assert robot.spin_until(lambda: images and infos, timeout_s=60.0)
    assert infos[-1].k[0] == 0.0, "no field of view was given: uncalibrated"
    np.testing.assert_array_equal(np.array(images[-1].data).reshape(robot.image.shape), robot.image)
    assert source.stop(signal.SIGTERM) == 0, source.log
    assert "Traceback" not in source.log


def test_the_video_source_knows_what_photos_say_and_leaves_damaged_ones_out(
    robot: Robot, start: Any, tmp_path: Path
) -> None:
    """A folder of a phone's photo, a truncated one and one that nothing is known of."""
    data = cv2.imencode(".jpg", robot.image)[1].tobytes()
    (tmp_path / "1.jpg").write_bytes(with_exif(data, exif={FOCAL_LENGTH_35MM: 50}))
    (tmp_path / "2.jpg").write_bytes(data[:-200])
    (tmp_path / "3.jpg").write_bytes(data)
    infos = robot.listen("camera_info", CameraInfo)
    source = start(SOURCE, source=tmp_path, rate=20)
    assert robot.spin_until(lambda: len(infos) > 4, timeout_s=60.0), source.log
    height, width = robot.image.shape[:2]
    by_exif = focal_length_px((tmp_path / "1.jpg").read_bytes(), width, height)
    assert {info.k[0] for info in infos} == {by_exif, 0.0}
    assert source.log.count("left out") == 1 and "2.jpg' is truncated" in source.log


def test_a_folder_of_damaged_photos_is_no_source(start: Any, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"not a photo")
    source = start(SOURCE, source=tmp_path)
    assert source.process.wait(60.0) == 2
    assert "1.jpg" in source.log and "no picture of" in source.log and "Traceback" not in source.log


@pytest.mark.fault(
    "unusable parameter, source or checkpoint at start",
    "status 2, or unconfigured and waiting for a better one; no traceback",
)
def test_what_cannot_start_says_why(robot: Robot, start: Any, tmp_path: Path) -> None:
    bad_parameter = start(NODE, max_faces=100)
    no_source = start(SOURCE, source=tmp_path / "nothing.jpg")
    other_kind = tmp_path / "weights.safetensors"
    other_kind.write_bytes(b"not weights at all")
    bad_checkpoint = start(NODE, checkpoint=other_kind)
    diagnostics = robot.listen("/diagnostics", DiagnosticArray)

    def complained() -> bool:
        statuses = [message.status[0] for message in diagnostics]
        return any(s.level == DiagnosticStatus.ERROR and str(other_kind) in s.message for s in statuses)

    assert robot.spin_until(complained, timeout_s=60.0), bad_checkpoint.log
    assert bad_checkpoint.process.poll() is None, "it waits for a better one"
    assert str(other_kind) in bad_checkpoint.log
    for process, complaint in ((bad_parameter, "max_faces"), (no_source, "nothing.jpg")):
        assert process.process.wait(60.0) == 2
        assert complaint in process.log
        assert "Traceback" not in process.log
