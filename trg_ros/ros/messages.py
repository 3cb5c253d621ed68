"""Estimated heads -> outgoing messages. Every message carries the stamp and the frame of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseStamped,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from trg_ros.geometry import FACE_R_GAZE, quaternion_xyzw_from_matrix
from trg_ros.msg import FaceBox, HeadPose, HeadPoseArray
from trg_ros.ros.frame import FrameResult
from trg_ros.tracking import TrackedHead

_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("id", "<u4")])
_CLOUD_FIELDS = [
    PointField(name=name, offset=offset, datatype=datatype, count=1)
    for name, offset, datatype in (
        ("x", 0, PointField.FLOAT32),
        ("y", 4, PointField.FLOAT32),
        ("z", 8, PointField.FLOAT32),
        ("id", 12, PointField.UINT32),
    )
]


def pose_from_matrix(camera_T_face: npt.NDArray[np.floating]) -> Pose:
    """(4, 4) rigid transform, metres -> Pose."""
    x, y, z, w = (float(value) for value in quaternion_xyzw_from_matrix(camera_T_face[:3, :3]))
    px, py, pz = (float(value) for value in camera_T_face[:3, 3])
    return Pose(position=Point(x=px, y=py, z=pz), orientation=Quaternion(x=x, y=y, z=z, w=w))


def pose_stamped(header: Header, tracked: TrackedHead) -> PoseStamped:
    """camera_T_face in the image's frame."""
    return PoseStamped(header=header, pose=pose_from_matrix(tracked.head.camera_T_face))


def pose_with_covariance_stamped(header: Header, tracked: TrackedHead) -> PoseWithCovarianceStamped:
    """camera_T_face and its covariance in the image's frame; rotations are about that frame's fixed axes."""
    return PoseWithCovarianceStamped(header=header, pose=_pose_with_covariance(tracked))


def _pose_with_covariance(tracked: TrackedHead) -> PoseWithCovariance:
    return PoseWithCovariance(
        pose=pose_from_matrix(tracked.head.camera_T_face),
        covariance=np.asarray(tracked.head.covariance, dtype=np.float64).ravel(),
    )


def head_pose_array(result: FrameResult, with_landmarks: bool) -> HeadPoseArray:
    """All heads of an image in one message; an image without a face gives an empty list."""
    return HeadPoseArray(
        header=result.header,
        image_width=result.image_bgr.shape[1],
        image_height=result.image_bgr.shape[0],
        intrinsics_assumed=result.intrinsics_assumed,
        checkpoint=result.checkpoint,
        heads=[_head_pose(tracked, with_landmarks) for tracked in result.heads],
    )


def _head_pose(tracked: TrackedHead, with_landmarks: bool) -> HeadPose:
    head = tracked.head
    head_pose = pose_from_matrix(head.camera_T_head)
    left, top, right, bottom = (float(value) for value in head.box)
    message = HeadPose(
        id=tracked.id,
        slot=tracked.slot,
        pose=_pose_with_covariance(tracked),
        head_origin=head_pose.position,
        head_orientation=head_pose.orientation,
        box=FaceBox(left=left, top=top, right=right, bottom=bottom, score=float(head.score)),
        score=float(head.score),
        landmarks68_image=np.asarray(head.landmarks68_image, dtype=np.float32).ravel(),
    )
    if with_landmarks:
        message.landmarks.frombytes(np.ascontiguousarray(head.landmarks_camera, dtype=np.float32).tobytes())
    return message


def frame_prefix(wanted: str, node_name: str) -> str:
    """What stands before the names of a node's frames: two nodes never share one, whatever they are called.

    :param wanted: the parameter `tf_prefix`; "auto" takes it from the node's name.
    :param node_name: fully qualified: /left/headpose gives left/, /headpose nothing, /driver driver/.
    """
    if wanted != "auto":
        return wanted
    *namespace, name = node_name.strip("/").split("/")
    return "".join(f"{part}/" for part in (namespace if name == "headpose" else [*namespace, name]))


def transforms(
    heads: Sequence[TrackedHead], header: Header, prefix: str, names: Sequence[object] | None = None
) -> list[TransformStamped]:
    """camera -> face_<slot> (REP 155) and gaze_<slot> (same origin, optical axes, z out of the face).

    :param names: of the heads, instead of their slots.
    """
    stamped = []
    for index, tracked in enumerate(heads):
        key = tracked.slot if names is None else names[index]
        camera_T_face = np.asarray(tracked.head.camera_T_face, dtype=np.float64)
        camera_T_gaze = camera_T_face.copy()
        camera_T_gaze[:3, :3] = camera_T_face[:3, :3] @ FACE_R_GAZE
        for name, matrix in (("face", camera_T_face), ("gaze", camera_T_gaze)):
            pose = pose_from_matrix(matrix)
            translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
            stamped.append(
                TransformStamped(
                    header=header,
                    child_frame_id=f"{prefix}{name}_{key}",
                    transform=Transform(translation=translation, rotation=pose.orientation),
                )
            )
    return stamped


def landmark_cloud(result: FrameResult) -> PointCloud2:
    """The dense landmarks of all faces: x y z in metres, camera frame, and the id of the head of each."""
    parts = []
    for tracked in result.heads:
        points = np.empty(len(tracked.head.landmarks_camera), dtype=_POINT)
        points["x"], points["y"], points["z"] = np.asarray(tracked.head.landmarks_camera).T
        points["id"] = tracked.id
        parts.append(points)
    cloud = np.concatenate(parts) if parts else np.empty(0, dtype=_POINT)
    message = PointCloud2(
        header=result.header,
        height=1,
        width=len(cloud),
        fields=_CLOUD_FIELDS,
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=_POINT.itemsize * len(cloud),
        is_dense=True,
    )
    message.data.frombytes(cloud.tobytes())
    return message
