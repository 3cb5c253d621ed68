"""REP 155: what is said about a face; stand-ins for hri_msgs everywhere, the real ones over DDS."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from discs import DiscBackend, box_of, checkpoint, draw

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Time
from rclpy.exceptions import InvalidHandle
from std_msgs.msg import Header

from trg_ros.camera import CameraModel
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.ros.frame import FrameResult
from trg_ros.ros.hri import (
    CROP_PX,
    HriIds,
    HriOutput,
    aligned_face,
    cropped_face,
    face_box,
    landmarks70,
    normalised,
)
from trg_ros.ros.parameters import Settings
from trg_ros.tracking import TrackedHead

CAMERA = CameraModel.pinhole(500, 500, 319.5, 239.5, 640, 480)
FISH_EYE = CameraModel.pinhole(120, 120, 319.5, 239.5, 640, 480, [0.01, 0, 0, 0], "equidistant")
PLACE = np.array([0.1, -0.05, 1.0])
HRI = SimpleNamespace(
    IdsList=SimpleNamespace,
    NormalizedRegionOfInterest2D=SimpleNamespace,
    FacialLandmarks=SimpleNamespace,
    NormalizedPointOfInterest2D=SimpleNamespace,
)


def head_at(place: np.ndarray) -> Any:
    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), None)
    return estimator.estimate(draw(CAMERA, [place]), CAMERA, boxes=[box_of(CAMERA, place)])[0]


@pytest.fixture(scope="module")
def head() -> Any:
    return head_at(PLACE)


def test_a_face_is_where_its_landmarks_are(head: Any) -> None:
    left, top, right, bottom = face_box(head, 640, 480)
    np.testing.assert_allclose([0.5 * (left + right), 0.5 * (top + bottom)], CAMERA.project(PLACE), atol=1.0)
    assert right - left == pytest.approx(2 * 0.08 * 500, rel=0.05)
    np.testing.assert_allclose(normalised([[-0.5, -0.5], [639.5, 479.5]], 640, 480), [[0, 0], [1, 1]])


def test_a_face_that_leaves_the_image_is_cut_and_then_gone() -> None:
    left, _, right, _ = face_box(head_at(np.array([-0.6, 0.0, 1.0])), 640, 480)
    assert left == -0.5 and 0 < right < 120
    assert face_box(SimpleNamespace(landmarks_image=np.full((5, 2), -50.0)), 640, 480) is None
    assert face_box(SimpleNamespace(landmarks_image=np.full((5, 2), np.nan)), 640, 480) is None


@pytest.mark.parametrize("box", [(10.0, 20.0, 309.0, 99.0), (0.0, 0.0, 20.0, 40.0), (-0.5, -0.5, 0.6, 0.6)])
def test_the_crop_is_128_square_with_zeros_around(box: tuple[float, float, float, float]) -> None:
    crop = cropped_face(np.full((480, 640, 3), 200, np.uint8), box)
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    filled = (crop[..., 0] > 0).any(axis=0).sum(), (crop[..., 0] > 0).any(axis=1).sum()
    assert max(filled) == CROP_PX
    sides = box[2] - box[0], box[3] - box[1]
    assert min(filled) == pytest.approx(CROP_PX * min(sides) / max(sides), abs=4)
    middle = cv2.moments((crop[..., 0] > 0).astype(np.uint8), binaryImage=True)
    assert middle["m10"] / middle["m00"] == pytest.approx((CROP_PX - 1) / 2, abs=1)


@pytest.mark.parametrize(
    ("camera", "place"),
    [(CAMERA, [-0.45, -0.3, 1.0]), (FISH_EYE, [-0.45, -0.3, 0.2]), (FISH_EYE, [0.9, 0.5, -0.1])],
)
@pytest.mark.parametrize("nod_deg", [0.0, 35.0])
@pytest.mark.parametrize("lean_deg", [0.0, 30.0, -75.0, 150.0])
def test_the_aligned_face_stands_upright(
    lean_deg: float, nod_deg: float, camera: CameraModel, place: list[float]
) -> None:
    """The crown is a white spot, wherever the head leans; REP 155's z points to it, as the camera sees it."""
    lean, nod = np.radians([lean_deg, nod_deg])
    up = np.array([np.sin(lean) * np.cos(nod), -np.cos(lean) * np.cos(nod), np.sin(nod)])
    face = np.eye(4)
    face[:3, 2], face[:3, 3] = up, place
    centre, above = camera.project(np.stack([face[:3, 3], face[:3, 3] + 1e-4 * up]))
    crown = centre + 40 * (above - centre) / np.linalg.norm(above - centre)
    image = cv2.circle(
        np.zeros((480, 640, 3), np.uint8), crown.round().astype(int).tolist(), 5, (255,) * 3, -1
    )
    left, top = centre - 60
    aligned = aligned_face(image, (left, top, left + 120, top + 120), face, camera)
    assert aligned.shape == (CROP_PX, CROP_PX, 3)
    spot = cv2.moments(aligned[..., 0])
    x, y = spot["m10"] / spot["m00"], spot["m01"] / spot["m00"]
    middle, scale = (CROP_PX - 1) / 2, CROP_PX / 120
    assert (x, y) == pytest.approx((middle, middle - 40 * scale), abs=1.5)


def test_an_aligned_face_at_the_border_has_zeros_around() -> None:
    white = np.full((480, 640, 3), 255, np.uint8)
    face = np.eye(4)
    face[:3, 2], face[2, 3] = [np.sqrt(0.5), -np.sqrt(0.5), 0.0], 1.0
    aligned = aligned_face(white, (-0.5, -0.5, 99.5, 99.5), face, CAMERA)
    assert aligned[CROP_PX // 2, CROP_PX // 2, 0] == 255 and (aligned == 0).any()


def test_seventy_landmarks_with_confidence(head: Any) -> None:
    points = landmarks70(head, 640, 480)
    assert points.shape == (70, 3)
    np.testing.assert_allclose(points[:68, :2] * [640, 480] - 0.5, head.landmarks68_image, atol=1e-6)
    assert (points[:68, 2] == head.score).all()
    np.testing.assert_allclose(points[68, :2], points[36:42, :2].mean(axis=0))
    np.testing.assert_allclose(points[69, :2], points[42:48, :2].mean(axis=0))
    assert (points[68:, 2] == 0).all(), "pupils are not estimated"
    outside = landmarks70(head_at(np.array([-0.64, 0.0, 1.0])), 640, 480)
    assert ((outside[:, :2] >= 0) & (outside[:, :2] <= 1)).all()
    assert 0 < (outside[:68, 2] == 0).sum() < 68


def test_ids_are_short_unique_and_keep() -> None:
    ids = HriIds(seed=1)
    names = [ids.name(identity) for identity in range(2000)]
    assert len(set(names)) == 2000 and all(len(name) == 5 and name.isalpha() for name in names)
    assert ids.name(7) == names[7]
    ids.forget(7)
    assert ids.name(7) not in names, "a name is never used again"


@dataclass
class FakePublisher:
    topic: str
    listeners: int = 1
    sent: list[Any] = field(default_factory=list)

    def get_subscription_count(self) -> int:
        return self.listeners

    def publish(self, message: Any) -> None:
        self.sent.append(message)


class FakeNode:
    def __init__(self) -> None:
        self.topics: dict[str, FakePublisher] = {}
        self.transforms: list[Any] = []

    def create_publisher(self, kind: Any, topic: str, qos: Any = None, event_callbacks: Any = None) -> Any:
        return self.topics.setdefault(topic, FakePublisher(topic))

    def destroy_publisher(self, publisher: FakePublisher) -> None:
        del self.topics[publisher.topic]

    def sendTransform(self, transforms: list[Any]) -> None:
        self.transforms = transforms


def result_of(stamp_s: int, *heads: TrackedHead) -> FrameResult:
    header = Header(stamp=Time(sec=stamp_s), frame_id="camera")
    return FrameResult(header, draw(CAMERA, [PLACE]), CAMERA, heads, False, "discs")


def test_topics_come_and_go_with_the_faces(head: Any) -> None:
    node = FakeNode()
    output = HriOutput(node, HRI, node, None, node.create_publisher)  # type: ignore[arg-type]
    tracked = node.topics["/humans/faces/tracked"]
    assert output.wanted(Settings()) and not output.wanted(Settings(publish_hri=False))
    output.publish(result_of(10, TrackedHead(5, 0, head)), Settings())
    (name,) = tracked.sent[-1].ids
    assert set(node.topics) == {"/humans/faces/tracked"} | {
        f"/humans/faces/{name}/{topic}" for topic in ("roi", "cropped", "aligned", "landmarks")
    }
    roi = node.topics[f"/humans/faces/{name}/roi"].sent[-1]
    assert 0 < roi.xmin < roi.xmax < 1 and 0 < roi.ymin < roi.ymax < 1 and roi.c == head.score
    for topic in ("cropped", "aligned"):
        picture = node.topics[f"/humans/faces/{name}/{topic}"].sent[-1]
        assert (picture.width, picture.height, picture.encoding) == (128, 128, "bgr8")
    assert len(node.topics[f"/humans/faces/{name}/landmarks"].sent[-1].landmarks) == 70
    assert [one.child_frame_id for one in node.transforms] == [f"face_{name}", f"gaze_{name}"]
    for topic in node.topics.values():
        topic.listeners = 0
    assert not output.wanted(Settings())
    output.publish(result_of(11), Settings())
    assert tracked.sent[-1].ids == [] and len(node.topics) == 5, "it may only be covered"
    output.publish(result_of(13), Settings())
    assert set(node.topics) == {"/humans/faces/tracked"}
    output.publish(result_of(14, TrackedHead(6, 0, head)), Settings())
    assert tracked.sent[-1].ids != [name]
    output.clear()
    assert tracked.sent[-1].ids == [] and len(node.topics) == 1


def test_a_publisher_that_goes_while_somebody_asks_has_no_listeners(head: Any) -> None:
    """The executor asks who listens while the worker takes the topics of a face away."""
    node = FakeNode()
    output = HriOutput(node, HRI, node, None, node.create_publisher)  # type: ignore[arg-type]
    output.publish(result_of(10, TrackedHead(5, 0, head)), Settings())

    def gone() -> int:
        raise InvalidHandle("cannot use Destroyable because destruction was requested")

    for topic in node.topics.values():
        topic.get_subscription_count = gone  # type: ignore[method-assign]
    assert not output.wanted(Settings())


def test_the_real_messages_over_dds(tmp_path: Path) -> None:
    messages = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not installed")
    import rclpy
    from rclpy.parameter import Parameter
    from ros_harness import Robot, SpinningThread, save_stand_in
    from sensor_msgs.msg import Image

    from trg_ros.ros.node import HeadPoseNode

    context = rclpy.Context()
    rclpy.init(context=context)
    path = save_stand_in(tmp_path / "stand_in.safetensors")
    values = {"checkpoint": str(path), "detector": "topic", "threads": 1, "max_faces": 3, "min_score": 0.0}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = HeadPoseNode(context=context, namespace="/hri", parameter_overrides=overrides)
    node.autostart()
    thread, robot = SpinningThread(node, context), Robot(context, "/hri")
    try:
        tracked = robot.listen("/humans/faces/tracked", messages.IdsList)
        assert robot.spin_until(lambda: tracked and len(tracked[-1].ids) == 2, sending=True)
        base = f"/humans/faces/{tracked[-1].ids[0]}"
        roi = robot.listen(f"{base}/roi", messages.NormalizedRegionOfInterest2D)
        cropped = robot.listen(f"{base}/cropped", Image)
        aligned = robot.listen(f"{base}/aligned", Image)
        landmarks = robot.listen(f"{base}/landmarks", messages.FacialLandmarks)
        assert robot.spin_until(lambda: roi and cropped and aligned and landmarks, sending=True)
        assert (cropped[-1].width, len(landmarks[-1].landmarks)) == (128, 70)
        robot.boxes = []
        robot.stamp_ns -= 60_000_000_000  # starts afresh, without anybody
        assert robot.spin_until(lambda: not node.get_publishers_info_by_topic(f"{base}/roi"), sending=True)
        assert tracked[-1].ids == []
    finally:
        thread.stop()
        node.destroy_node()
        robot.destroy_node()
        rclpy.try_shutdown(context=context)
