"""Reading the node's outputs, and whether they agree with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Pose, PoseStamped, PoseWithCovarianceStamped
from ros_harness import Robot
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from trg_ros.msg import HeadPoseArray
from visualization_msgs.msg import Marker, MarkerArray

from trg_ros.camera import CameraModel
from trg_ros.geometry import HEAD_R_FACE, matrix_from_quaternion_xyzw
from trg_ros.ros.conversions import image_to_bgr

OUTPUTS = {
    "headpose/faces": HeadPoseArray,
    "headpose/faces_raw": HeadPoseArray,
    "headpose/face_1/pose": PoseStamped,
    "headpose/face_1/pose_with_covariance": PoseWithCovarianceStamped,
    "headpose/landmarks": MarkerArray,
    "headpose/landmark_cloud": PointCloud2,
    "headpose/overlay": Image,
    "/tf": TFMessage,
    "headpose/timing": DiagnosticArray,
}


def pose_matrix(pose: Any) -> np.ndarray:
    matrix = np.eye(4)
    q = pose.orientation
    matrix[:3, :3] = matrix_from_quaternion_xyzw(np.array([q.x, q.y, q.z, q.w]))
    matrix[:3, 3] = pose.position.x, pose.position.y, pose.position.z
    return matrix


def transform_matrix(transform: Any) -> np.ndarray:
    matrix = np.eye(4)
    q, t = transform.rotation, transform.translation
    matrix[:3, :3] = matrix_from_quaternion_xyzw(np.array([q.x, q.y, q.z, q.w]))
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix


def points_of(marker: Marker) -> np.ndarray:
    return np.array([[point.x, point.y, point.z] for point in marker.points])


def cloud_points(cloud: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) float32 and (N,) ids, read by the message's own description of its fields."""
    offsets = {field.name: field.offset for field in cloud.fields}
    dtype = np.dtype(
        {
            "names": list(offsets),
            "formats": ["<f4", "<f4", "<f4", "<u4"],
            "offsets": list(offsets.values()),
            "itemsize": cloud.point_step,
        }
    )
    points = np.frombuffer(cloud.data, dtype=dtype)
    return np.stack([points["x"], points["y"], points["z"]], axis=1), points["id"]


def at(messages: list[Any], header: Header) -> Any:
    """The message with that stamp."""

    def stamp(message: Any) -> Any:
        if isinstance(message, TFMessage):
            return message.transforms[0].header.stamp
        if isinstance(message, MarkerArray):
            return message.markers[-1].header.stamp
        return message.header.stamp

    return next((message for message in messages if stamp(message) == header.stamp), None)


def assert_outputs_agree(found: dict[str, Any], camera: CameraModel, image_bgr: np.ndarray) -> None:
    """All outputs of one image say the same, with the same stamp and frame.

    :param found: a message for each topic of OUTPUTS, and of the other slots' poses.
    """
    faces = found["headpose/faces"]
    header = faces.header
    transforms = {t.child_frame_id.rpartition("/")[2]: t for t in found["/tf"].transforms}
    slots = sorted(head.slot for head in faces.heads)
    assert sorted(transforms) == [f"face_{k}" for k in slots] + [f"gaze_{k}" for k in slots]
    assert all(transform.header == header for transform in transforms.values())
    markers = {(marker.ns, marker.id): marker for marker in found["headpose/landmarks"].markers}
    assert all(marker.header == header for marker in markers.values())
    cloud = found["headpose/landmark_cloud"]
    assert cloud.header == header
    points, ids = cloud_points(cloud)
    for head in faces.heads:
        camera_T_face = pose_matrix(head.pose.pose)
        assert camera_T_face[2, 3] > 0.1
        camera_T_head = pose_matrix(Pose(position=head.head_origin, orientation=head.head_orientation))
        np.testing.assert_allclose(camera_T_face[:3, :3], camera_T_head[:3, :3] @ HEAD_R_FACE, atol=1e-6)
        stamped = found[f"headpose/face_{head.slot}/pose"]
        assert stamped.header == header
        np.testing.assert_allclose(pose_matrix(stamped.pose), camera_T_face, atol=1e-6)
        face, gaze = transforms[f"face_{head.slot}"], transforms[f"gaze_{head.slot}"]
        np.testing.assert_allclose(transform_matrix(face.transform), camera_T_face, atol=1e-6)
        camera_T_gaze = transform_matrix(gaze.transform)
        np.testing.assert_allclose(camera_T_gaze[:3, 3], camera_T_face[:3, 3], atol=1e-6)
        np.testing.assert_allclose(camera_T_gaze[:3, 2], camera_T_face[:3, 0], atol=1e-6)
        np.testing.assert_allclose(camera_T_gaze[:3, 1], -camera_T_face[:3, 2], atol=1e-6)
        landmarks = np.array(head.landmarks).reshape(-1, 3)
        np.testing.assert_allclose(points_of(markers["landmarks", head.slot]), landmarks, atol=1e-6)
        np.testing.assert_allclose(points[ids == head.id], landmarks, atol=1e-6)
        np.testing.assert_allclose(pose_matrix(markers["axes", head.slot].pose), camera_T_face, atol=1e-6)
        sellion = np.array(head.landmarks68_image).reshape(68, 2)[27]
        np.testing.assert_allclose(camera.project(camera_T_face[:3, 3]), sellion, atol=1e-3)
        covariance = np.array(head.pose.covariance).reshape(6, 6)
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
        assert np.linalg.eigvalsh(covariance).min() > 0
    if uncertain := found.get("headpose/face_1/pose_with_covariance"):
        assert uncertain.header == header
        second = next(head for head in faces.heads if head.slot == 1)
        assert uncertain.pose == second.pose
    assert [head.id for head in found["headpose/faces_raw"].heads] == [head.id for head in faces.heads]
    assert_timing_is_whole(found["headpose/timing"], header, len(faces.heads))
    overlay = found["headpose/overlay"]
    assert overlay.header == header
    drawn = image_to_bgr(overlay)
    assert drawn.shape == image_bgr.shape
    assert 0.0 < (drawn != image_bgr).any(axis=2).mean() < 0.7


def assert_timing_is_whole(timing: DiagnosticArray, header: Header, faces: int) -> None:
    """The steps of one image add up to the whole."""
    assert timing.header == header
    values = {pair.key: float(pair.value) for pair in timing.status[0].values}
    assert values.pop("faces") == faces
    values.pop("age (s)")
    total = values.pop("total (s)")
    assert list(values) == [
        f"{step} (s)" for step in ("waiting", "decoding", "estimating", "smoothing", "publishing")
    ]
    assert sum(values.values()) == pytest.approx(total, abs=1e-5)
    assert min(values.values()) >= 0.0


def ask(robot: Robot, messages: list[Any]) -> Any:
    """The answer to one image; asked again if the node was still at an older one and dropped ours."""
    for _ in range(5):
        header = robot.send()
        if robot.spin_until(lambda header=header: at(messages, header), timeout_s=4.0):
            return at(messages, header)
    raise AssertionError("no answer to five images")
