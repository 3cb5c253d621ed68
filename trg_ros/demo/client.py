"""The demo's ROS client: listens to everything the node says, records it and keeps what the table needs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from trg_ros.demo.motion import PoseSample
from trg_ros.geometry import euler_yxz_degrees, matrix_from_quaternion_xyzw
from trg_ros.msg import HeadPoseArray

CAMERA_NAMESPACE = "/camera"
NODE_NAME = "/headpose"
CAMERA_FRAME = "camera_optical_frame"
PHOTO_FRAME = "photo"

_IMAGES_PER_SECOND_IN_BAG = 4.0
_RATE_WINDOW = 20
_QOS = QoSProfile(depth=20)

Recorder = Callable[[str, str, int, bytes], None]


@dataclass(frozen=True)
class Row:
    """One head as the table shows it: metres and degrees, camera frame."""

    identity: int
    position: tuple[float, float, float]
    yaw_pitch_roll_deg: tuple[float, float, float]


@dataclass(frozen=True)
class Status:
    """What is known after the newest message of ~/faces."""

    rows: tuple[Row, ...]
    frames: int
    rate_hz: float
    """Over the last messages; 0 before the second."""
    latency_ms: float
    """From the image's stamp to its poses here, median of the last messages."""
    checkpoint: str
    intrinsics_assumed: bool


class DemoClient(Node):
    """Subscribes to all outputs of the node and to the camera. Callbacks run in the caller's executor."""

    def __init__(self, record: Recorder | None) -> None:
        """:param record: called with (topic, type, receive time in ns, serialized message)."""
        super().__init__("trg_ros_demo")
        self._record = record
        self._arrivals_s: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._latencies_s: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._last_image_s: dict[str, float] = {}
        self.status: Status | None = None
        self.samples: list[PoseSample] = []
        """Poses of all heads in all images."""
        self.camera_in_photo: dict[int, npt.NDArray[np.float64]] = {}
        """Stamp in ns -> (3, 3) R_photo_camera, the truth that the video source tells."""
        self.overlays: deque[tuple[int, bytes]] = deque(maxlen=1)
        """Newest overlay that shows a head: stamp in ns and the serialized Image."""
        self.counts: dict[str, int] = {}
        self._subscribe_all()

    def _subscribe_all(self) -> None:
        self._listen(f"{NODE_NAME}/faces", HeadPoseArray, self._on_faces)
        self._listen(f"{NODE_NAME}/overlay", Image, self._on_overlay, sparse=True)
        self._listen(f"{NODE_NAME}/face_0/pose", PoseStamped)
        self._listen(f"{NODE_NAME}/landmarks", MarkerArray)
        self._listen(f"{NODE_NAME}/landmark_cloud", PointCloud2)
        self._listen(f"{CAMERA_NAMESPACE}/image", Image, sparse=True)
        self._listen(f"{CAMERA_NAMESPACE}/camera_info", CameraInfo)
        self._listen("/tf", TFMessage, self._on_tf)
        lasting = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._listen("/tf_static", TFMessage, qos=lasting)

    def _listen(
        self,
        topic: str,
        message_type: Any,
        use: Callable[[bytes], None] | None = None,
        sparse: bool = False,
        qos: QoSProfile = _QOS,
    ) -> None:
        """Counts and records what comes; `sparse`: records a few a second only, images are large."""
        type_name = f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"

        def on_message(data: bytes) -> None:
            self.counts[topic] = self.counts.get(topic, 0) + 1
            if self._record is not None and not (sparse and self._is_too_soon(topic)):
                self._record(topic, type_name, time.time_ns(), data)
            if use is not None:
                use(data)

        self.create_subscription(message_type, topic, on_message, qos, raw=True)

    def _is_too_soon(self, topic: str) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_image_s.get(topic, -1e9) < 1.0 / _IMAGES_PER_SECOND_IN_BAG:
            return True
        self._last_image_s[topic] = now_s
        return False

    def _on_faces(self, data: bytes) -> None:
        message = deserialize_message(data, HeadPoseArray)
        stamp_ns = _nanoseconds(message.header.stamp)
        self._arrivals_s.append(time.monotonic())
        self._latencies_s.append(1e-9 * (time.time_ns() - stamp_ns))
        heads = sorted(message.heads, key=lambda head: head.id)
        self.samples.extend(_sample(stamp_ns, head) for head in heads)
        duration_s = self._arrivals_s[-1] - self._arrivals_s[0]
        self.status = Status(
            rows=tuple(_row(head) for head in heads),
            frames=self.counts[f"{NODE_NAME}/faces"],
            rate_hz=(len(self._arrivals_s) - 1) / duration_s if duration_s > 0.0 else 0.0,
            latency_ms=1e3 * float(np.median(self._latencies_s)),
            checkpoint=message.checkpoint,
            intrinsics_assumed=message.intrinsics_assumed,
        )

    def _on_overlay(self, data: bytes) -> None:
        if self.status is not None and self.status.rows:
            self.overlays.append((time.time_ns(), data))

    def _on_tf(self, data: bytes) -> None:
        for transform in deserialize_message(data, TFMessage).transforms:
            if transform.header.frame_id == PHOTO_FRAME and transform.child_frame_id == CAMERA_FRAME:
                stamp_ns = _nanoseconds(transform.header.stamp)
                self.camera_in_photo[stamp_ns] = _rotation(transform.transform.rotation)

    def newest_overlay(self) -> npt.NDArray[np.uint8] | None:
        """(H, W, 3) uint8 BGR, or None before the first."""
        if not self.overlays:
            return None
        image = deserialize_message(self.overlays[-1][1], Image)
        rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
        return rows[:, : 3 * image.width].reshape(image.height, image.width, 3)


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _rotation(quaternion: Any) -> npt.NDArray[np.float64]:
    return matrix_from_quaternion_xyzw(np.array([quaternion.x, quaternion.y, quaternion.z, quaternion.w]))


def _sample(stamp_ns: int, head: Any) -> PoseSample:
    position = head.pose.pose.position
    return PoseSample(
        stamp_ns=stamp_ns,
        position=np.array([position.x, position.y, position.z]),
        rotation=_rotation(head.pose.pose.orientation),
    )


def _row(head: Any) -> Row:
    position = head.pose.pose.position
    # The evaluation protocol's angles, of the network's own head frame.
    yaw, pitch, roll = euler_yxz_degrees(_rotation(head.head_orientation)).tolist()
    return Row(int(head.id), (position.x, position.y, position.z), (yaw, pitch, roll))
