"""REP 155 (ROS4HRI): the topics under /humans/faces, in the types that libhri reads. Needs hri_msgs."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.exceptions import InvalidHandle
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from trg_ros.ros.conversions import image_message
from trg_ros.ros.frame import FrameResult, nanoseconds
from trg_ros.ros.messages import transforms

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from std_msgs.msg import Header
    from tf2_ros import TransformBroadcaster

    from trg_ros.camera import CameraModel
    from trg_ros.estimator import HeadPose
    from trg_ros.ros.parameters import Settings

CROP_PX = 128
"""Side of /humans/faces/<id>/cropped and /aligned."""

_UP_M = 0.01
"""Which way is up in the image, that far above the bridge of the nose tells."""

_KEEP_S = 1.0
"""Topics of a face that left stay that long: it may only be covered."""

_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)

Box = tuple[float, float, float, float]


def face_box(head: HeadPose, width: int, height: int) -> Box | None:
    """Left, top, right, bottom px of the face's landmarks, cut at the image's border; None outside of it."""
    points = head.landmarks_image[np.isfinite(head.landmarks_image).all(axis=1)]
    if not len(points):
        return None
    left, top = np.clip(points.min(axis=0), -0.5, [width - 0.5, height - 0.5])
    right, bottom = np.clip(points.max(axis=0), -0.5, [width - 0.5, height - 0.5])
    if right - left < 1.0 or bottom - top < 1.0:
        return None
    return float(left), float(top), float(right), float(bottom)


def normalised(pixels: npt.ArrayLike, width: int, height: int) -> npt.NDArray[np.float64]:
    """(..., 2) pixels -> 0 at the left (top) border of the image, 1 at the other."""
    return (np.asarray(pixels, dtype=np.float64) + 0.5) / [width, height]


def cropped_face(image_bgr: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.uint8]:
    """(128, 128, 3) the face as large as fits, in the middle, zeros around it."""
    left, top = (max(0, int(np.floor(value + 0.5))) for value in box[:2])
    right, bottom = (int(np.ceil(value + 0.5)) for value in box[2:])
    return _squared(image_bgr[top : max(bottom, top + 1), left : max(right, left + 1)])


def aligned_face(
    image_bgr: npt.NDArray[np.uint8],
    box: Box,
    camera_T_face: npt.NDArray[np.floating],
    camera: CameraModel,
) -> npt.NDArray[np.uint8]:
    """As `cropped_face`, turned in the image until the head stands upright, so that the eyes are level."""
    up, place = camera_T_face[:3, 2], camera_T_face[:3, 3]
    below, above = camera.project(np.stack([place, place + _UP_M * up]))
    up_x, up_y = above - below if np.isfinite(above - below).all() else (0.0, -1.0)
    centre = np.array([0.5 * (box[0] + box[2]), 0.5 * (box[1] + box[3])])
    size = [max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))]
    turn = cv2.getRotationMatrix2D(centre.tolist(), float(np.degrees(np.arctan2(up_x, -up_y))), 1.0)
    turn[:, 2] += 0.5 * (np.array(size) - 1) - centre
    return _squared(np.asarray(cv2.warpAffine(image_bgr, turn, size), dtype=np.uint8))


def _squared(face: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = CROP_PX / max(face.shape[:2])
    size = [min(CROP_PX, max(1, round(scale * side))) for side in face.shape[1::-1]]
    resized = cv2.resize(face, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    x, y = (CROP_PX - size[0]) // 2, (CROP_PX - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = resized
    return canvas


def landmarks70(head: HeadPose, width: int, height: int) -> npt.NDArray[np.float64]:
    """(70, 3) x, y in 0 .. 1 of the image, and confidence: the 68 and the pupils.

    Pupils aren't estimated: the middle of the eye, confidence 0. So is that of points outside the image.
    """
    points = np.asarray(head.landmarks68_image, dtype=np.float64)
    pupils = [points[eye].mean(axis=0) for eye in (_RIGHT_EYE, _LEFT_EYE)]
    places = np.nan_to_num(normalised(np.concatenate([points, pupils]), width, height), nan=-1.0)
    inside = ((places >= 0.0) & (places <= 1.0)).all(axis=1)
    confidence = np.where(inside, head.score, 0.0)
    confidence[68:] = 0.0
    return np.column_stack([np.clip(places, 0.0, 1.0), confidence])


class HriIds:
    """Short names for faces: five letters, unique in this node's life."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._used: set[str] = set()
        self._names: dict[int, str] = {}

    def name(self, identity: int) -> str:
        """Of the head with that id."""
        while identity not in self._names:
            name = "".join(self._random.choices(string.ascii_lowercase, k=5))
            if name not in self._used:
                self._names[identity] = name
                self._used.add(name)
        return self._names[identity]

    def forget(self, identity: int) -> None:
        """The head won't come back under this id."""
        self._names.pop(identity, None)


@dataclass
class _Face:
    """The topics of one face."""

    roi: Publisher[Any]
    cropped: Publisher[Any]
    aligned: Publisher[Any]
    landmarks: Publisher[Any]
    seen_s: float

    @property
    def publishers(self) -> tuple[Publisher[Any], ...]:
        return self.roi, self.cropped, self.aligned, self.landmarks


class HriOutput:
    """Everything REP 155 asks of a face detector. For the worker's thread.

    :param messages: the module hri_msgs.msg.
    """

    def __init__(
        self,
        node: Node,
        messages: Any,
        broadcaster: TransformBroadcaster,
        quiet_events: Any,
        create: Callable[[type, str], Publisher[Any]],
    ) -> None:
        """`create` makes a publisher that wakes the node; those with `quiet_events` leave it alone."""
        self._node, self._messages, self._broadcaster = node, messages, broadcaster
        self._quiet_events = quiet_events
        self._tracked = create(messages.IdsList, "/humans/faces/tracked")
        self._ids = HriIds()
        self._faces: dict[int, _Face] = {}

    def wanted(self, settings: Settings) -> bool:
        return settings.publish_hri and (
            _heard(self._tracked)
            or any(_heard(one) for face in list(self._faces.values()) for one in face.publishers)
        )

    def publish(self, result: FrameResult, settings: Settings) -> None:
        stamp_s = 1e-9 * nanoseconds(result.header)
        names = [self._ids.name(tracked.id) for tracked in result.heads]
        for tracked, name in zip(result.heads, names, strict=True):
            face = self._faces.get(tracked.id) or self._appeared(tracked.id, name)
            face.seen_s = stamp_s
            self._publish_face(face, tracked.head, result)
        if result.latest.heads and result.header.frame_id and nanoseconds(result.header) > 0:
            # Ids are unique already, and libhri looks for exactly these names.
            prefix = "" if settings.tf_prefix == "auto" else settings.tf_prefix
            self._broadcaster.sendTransform(transforms(result.latest, prefix, names))
        self._tracked.publish(self._messages.IdsList(header=result.header, ids=names))
        for identity, face in list(self._faces.items()):
            if not 0 <= stamp_s - face.seen_s <= _KEEP_S:
                self._left(identity)

    def clear(self) -> None:
        if self._faces:
            for identity in list(self._faces):
                self._left(identity)
            self._tracked.publish(self._messages.IdsList(ids=[]))

    def destroy(self) -> None:
        """Take the topics of all faces off the graph."""
        for identity in list(self._faces):
            self._left(identity)

    def _appeared(self, identity: int, name: str) -> _Face:
        def create(message_type: Any, topic: str) -> Publisher[Any]:
            return self._node.create_publisher(
                message_type, f"/humans/faces/{name}/{topic}", _QOS, event_callbacks=self._quiet_events
            )

        face = _Face(
            create(self._messages.NormalizedRegionOfInterest2D, "roi"),
            create(Image, "cropped"),
            create(Image, "aligned"),
            create(self._messages.FacialLandmarks, "landmarks"),
            0.0,
        )
        self._faces[identity] = face
        return face

    def _left(self, identity: int) -> None:
        for publisher in self._faces.pop(identity).publishers:
            self._node.destroy_publisher(publisher)
        self._ids.forget(identity)

    def _publish_face(self, face: _Face, head: HeadPose, result: FrameResult) -> None:
        height, width = result.image_bgr.shape[:2]
        box = face_box(head, width, height)
        if box is not None and _heard(face.roi):
            face.roi.publish(self._roi(result.header, box, head.score, width, height))
        if box is not None and _heard(face.cropped):
            face.cropped.publish(image_message(result.header, cropped_face(result.image_bgr, box)))
        if box is not None and _heard(face.aligned):
            upright = aligned_face(result.image_bgr, box, head.camera_T_face, result.camera)
            face.aligned.publish(image_message(result.header, upright))
        if _heard(face.landmarks):
            face.landmarks.publish(self._landmarks(result.header, head, width, height))

    def _roi(self, header: Header, box: Box, score: float, width: int, height: int) -> Any:
        (xmin, ymin), (xmax, ymax) = normalised([box[:2], box[2:]], width, height).clip(0.0, 1.0).tolist()
        return self._messages.NormalizedRegionOfInterest2D(
            header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=float(score)
        )

    def _landmarks(self, header: Header, head: HeadPose, width: int, height: int) -> Any:
        points = landmarks70(head, width, height).tolist()
        point = self._messages.NormalizedPointOfInterest2D
        return self._messages.FacialLandmarks(
            header=header, landmarks=[point(x=x, y=y, c=c) for x, y, c in points], height=height, width=width
        )


def _heard(publisher: Publisher[Any]) -> bool:
    """From any thread."""
    try:
        return bool(publisher.get_subscription_count() > 0)
    except InvalidHandle:  # its face has just left, on the worker's thread
        return False
