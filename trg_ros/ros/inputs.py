"""The node's subscriptions: open only while somebody wants results, with the QoS that the publishers offer.

The callbacks only store: images go to the mailbox, calibrations to the IntrinsicsStore.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trg_ros.errors import InputError
from trg_ros.msg import FaceBoxArray
from trg_ros.ros.arrivals import Arrivals
from trg_ros.ros.boxes import BoxPairing
from trg_ros.ros.frame import Frame

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

    from trg_ros.ros.intrinsics import IntrinsicsStore
    from trg_ros.ros.mailbox import Mailbox
    from trg_ros.ros.parameters import Settings
    from trg_ros.ros.statistics import Statistics

_VISION_MSGS = "vision_msgs/msg/Detection2DArray"


class Inputs:
    """Image, camera_info and, for `detector: topic`, detections. Only for the executor's thread."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        mailbox: Mailbox[Frame],
        intrinsics: IntrinsicsStore,
        statistics: Statistics,
    ) -> None:
        self._node = node
        self._mailbox = mailbox
        self._intrinsics = intrinsics
        self._statistics = statistics
        self._pairing = BoxPairing()
        self.arrivals = Arrivals()
        self._settings = settings
        self._subscriptions: dict[str, tuple[object, Subscription[Any]]] = {}
        self.image_type: Any = CompressedImage if settings.image_transport == "compressed" else Image
        self.image_topic = image_topic(node, settings)
        self.camera_info_topic = camera_info_topic(node, settings)
        self.detections_topic = node.resolve_topic_name("detections") if settings.detector == "topic" else ""
        self._opened_s: float | None = None
        self.boxes_received = False
        intrinsics.topic, intrinsics.image_topic = self.camera_info_topic, self.image_topic
        _check_topics(
            image=self.image_topic, camera_info=self.camera_info_topic, detections=self.detections_topic
        )

    @property
    def is_open(self) -> bool:
        return self._opened_s is not None

    @property
    def open_for_s(self) -> float:
        """Seconds since the subscriptions were made; 0 while closed."""
        return 0.0 if self._opened_s is None else time.monotonic() - self._opened_s

    def refresh(self, wanted: bool) -> None:
        """Subscribe while results are wanted, unsubscribe otherwise; follow the publishers' QoS."""
        if not wanted:
            self.close()
            return
        if self._opened_s is None:
            self._opened_s = time.monotonic()
        self._follow_camera_info()
        if self.detections_topic:
            self._follow("detections", self._detections_type(), self.detections_topic, "auto", self._on_boxes)
        self._follow(
            "image", self.image_type, self.image_topic, self._settings.image_reliability, self._on_image
        )

    def close(self) -> None:
        """Unsubscribe from everything; the images cost nothing any more."""
        for _, subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._pairing = BoxPairing()
        self._opened_s = None

    def _follow_camera_info(self) -> None:
        topic = camera_info_topic(self._node, self._settings)
        if topic != self.camera_info_topic:  # what came from the other one may be another camera's
            self.camera_info_topic = self._intrinsics.topic = topic
            self._intrinsics.clear()
        self._follow("camera_info", CameraInfo, topic, "auto", self._on_camera_info)

    def _follow(self, name: str, message_type: Any, topic: str, reliability: str, callback: Any) -> None:
        qos = _offered_qos(self._node, topic, reliability)
        kind = (message_type, topic, qos.reliability, qos.durability)
        if name in self._subscriptions:
            if self._subscriptions[name][0] == kind:
                return
            self._node.destroy_subscription(self._subscriptions.pop(name)[1])
        counted = partial(self.arrivals.subscribe, self._node)
        create = counted if name == "image" else self._node.create_subscription
        self._subscriptions[name] = kind, create(message_type, topic, callback, qos)

    def _detections_type(self) -> Any:
        types = {info.topic_type for info in self._node.get_publishers_info_by_topic(self.detections_topic)}
        if _VISION_MSGS in types and "trg_ros/msg/FaceBoxArray" not in types:
            try:
                from vision_msgs.msg import Detection2DArray
            except ImportError:
                return FaceBoxArray
            return Detection2DArray
        return FaceBoxArray

    def _on_image(self, message: Any) -> None:
        self._statistics.image_arrived()
        if not self.detections_topic:
            self._mailbox.put(Frame(message, None, time.monotonic()))
            return
        self._put_pair(self._pairing.add_image(message))

    def _on_boxes(self, message: Any) -> None:
        self.boxes_received = True
        self._put_pair(self._pairing.add_boxes(message))

    def _put_pair(self, pair: tuple[Any, Any] | None) -> None:
        if pair is not None:
            self._mailbox.put(Frame(pair[0], pair[1], time.monotonic()))

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._intrinsics.put(message, time.monotonic())


def image_topic(node: Node, settings: Settings) -> str:
    """`image`, or its compressed companion; a remapping of either is honoured."""
    if settings.image_transport == "raw":
        return node.resolve_topic_name("image")
    compressed = node.resolve_topic_name("image/compressed")
    if compressed != node.resolve_topic_name("image/compressed", only_expand=True):
        return compressed
    return node.resolve_topic_name("image") + "/compressed"


def camera_info_topic(node: Node, settings: Settings) -> str:
    """Where the calibration comes from, now: `camera_info` if that is remapped.

    Else beside the images, as image_transport has it, unless only `camera_info` itself is published.
    """
    own = node.resolve_topic_name("camera_info")
    if own != node.resolve_topic_name("camera_info", only_expand=True):
        return own
    images = image_topic(node, settings)
    if settings.image_transport == "compressed":
        images = images.removesuffix("/compressed")
    beside = f"{images.rpartition('/')[0]}/camera_info"
    only_own = beside != own and not node.count_publishers(beside) and node.count_publishers(own) > 0
    return own if only_own else beside


def _check_topics(**topics: str) -> None:
    """Raises InputError where two inputs would be one topic, which the middleware refuses."""
    names: dict[str, str] = {}
    for name, topic in topics.items():
        if topic and topic in names:
            raise InputError(
                f"{names[topic]} and {name} are both '{topic}': remap them to different topics, e.g. "
                f"--ros-args -r {name}:=<topic>"
            )
        names[topic] = name


def _offered_qos(node: Node, topic: str, reliability: str) -> QoSProfile:
    """Keep the last message; as reliable and as durable as every publisher there is offers."""
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    best_effort = any(qos.reliability == ReliabilityPolicy.BEST_EFFORT for qos in offered)
    if reliability != "auto":
        best_effort = reliability == "best_effort"
    latched = bool(offered) and all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
