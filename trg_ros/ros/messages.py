"""Estimated heads -> outgoing messages. Every message carries the stamp and the frame of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import (
    Pose,
    PoseStamped,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Transform,
    TransformStamped,
    Vector3,
)
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from trg_ros.msg import FaceBox, HeadPose, HeadPoseArray
from trg_ros.ros.frame import FrameResult, StampedHeads
from trg_ros.ros.poses import pose_messages
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


def pose_stamped(header: Header, tracked: TrackedHead, pose: Pose) -> PoseStamped:
    """camera_T_face in the image's frame."""
    return PoseStamped(header=header, pose=pose)


def pose_with_covariance_stamped(
    header: Header, tracked: TrackedHead, pose: Pose
) -> PoseWithCovarianceStamped:
    """camera_T_face and its covariance in the image's frame; rotations are about that frame's fixed axes."""
    return PoseWithCovarianceStamped(header=header, pose=_with_covariance(tracked, pose))


def _with_covariance(tracked: TrackedHead, pose: Pose) -> PoseWithCovariance:
    covariance = np.asarray(tracked.head.covariance, dtype=np.float64).ravel()
    return PoseWithCovariance(pose=pose, covariance=covariance)


def head_pose_array(result: FrameResult, with_landmarks: bool) -> HeadPoseArray:
    """All heads of an image in one message; an image without a face gives an empty list."""
    heads_in_camera = pose_messages([tracked.head.camera_T_head for tracked in result.heads])
    return HeadPoseArray(
        header=result.header,
        image_width=result.image_bgr.shape[1],
        image_height=result.image_bgr.shape[0],
        intrinsics_assumed=result.intrinsics_assumed,
        checkpoint=result.checkpoint,
        heads=[
            _head_pose(*parts, with_landmarks)
            for parts in zip(result.heads, result.seen.face_poses, heads_in_camera, strict=True)
        ],
    )


def _head_pose(tracked: TrackedHead, pose: Pose, head_pose: Pose, with_landmarks: bool) -> HeadPose:
    head = tracked.head
    left, top, right, bottom = (float(value) for value in head.box)
    message = HeadPose(
        id=tracked.id,
        slot=tracked.slot,
        pose=_with_covariance(tracked, pose),
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
    heads: StampedHeads, prefix: str, names: Sequence[object] | None = None
) -> list[TransformStamped]:
    """camera -> face_<slot> (REP 155) and gaze_<slot> (same origin, optical axes, z out of the face).

    :param names: of the heads, instead of their slots.
    """
    keys = [tracked.slot for tracked in heads.heads] if names is None else names
    return [
        TransformStamped(
            header=heads.header,
            child_frame_id=f"{prefix}{kind}_{key}",
            transform=Transform(
                translation=Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z),
                rotation=pose.orientation,
            ),
        )
        for key, face, gaze in zip(keys, heads.face_poses, heads.gaze_poses, strict=True)
        for kind, pose in (("face", face), ("gaze", gaze))
    ]


def landmark_cloud(result: FrameResult) -> PointCloud2:
    """The dense landmarks of all faces: x y z in metres, camera frame, and the id of the head of each."""
    parts = []
    for tracked in result.heads:
        points = np.empty(len(tracked.head.landmarks_camera), dtype=_POINT)
        points["x"], points["y"], points["z"] = np.asarray(tracked.head.landmarks_camera).T
        points["id"] = tracked.id
        parts.append(points)
    cloud = np.concatenate(parts) if parts else np.empty(0, dtype=_POINT)
    message = point_cloud2.create_cloud(result.header, _CLOUD_FIELDS, cloud)
    message.is_dense = True  # no landmark is missing; create_cloud never says so
    return message
