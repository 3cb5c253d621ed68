"""The node's outputs, each lazy: built and published only while somebody subscribes to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Pose, PoseStamped, PoseWithCovarianceStamped
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from tf2_ros import TransformBroadcaster
from visualization_msgs.msg import MarkerArray

from trg_ros.msg import HeadPoseArray
from trg_ros.ros.conversions import image_message
from trg_ros.ros.diagnostics import timing_array
from trg_ros.ros.frame import FrameResult, nanoseconds
from trg_ros.ros.hri import HriOutput
from trg_ros.ros.markers import FaceMarkers
from trg_ros.ros.messages import (
    frame_prefix,
    head_pose_array,
    landmark_cloud,
    pose_stamped,
    pose_with_covariance_stamped,
    transforms,
)
from trg_ros.visualization import draw_heads

try:
    from rclpy.event_handler import PublisherEventCallbacks, UnsupportedEventTypeError

    _HAS_MATCHED_EVENTS = True
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, UnsupportedEventTypeError

    _HAS_MATCHED_EVENTS = False

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from std_msgs.msg import Header

    from trg_ros.ros.parameters import Settings
    from trg_ros.tracking import TrackedHead

_QOS = QoSProfile(depth=5)
_IMAGE_QOS = QoSProfile(depth=1)


class Output(Protocol):
    """One of the things the node can tell."""

    def wanted(self, settings: Settings) -> bool:
        """Whether anybody listens now."""

    def publish(self, result: FrameResult, settings: Settings) -> None:
        """Build and send it. Call it only when wanted."""

    def clear(self) -> None:
        """What was sent no longer holds; take back what would stay visible."""


class _TopicOutput:
    """An output with one publisher."""

    def __init__(self, publisher: Publisher[Any]) -> None:
        self._publisher = publisher

    def wanted(self, settings: Settings) -> bool:
        return self._publisher.get_subscription_count() > 0

    def clear(self) -> None:
        pass


class _FacesOutput(_TopicOutput):
    def publish(self, result: FrameResult, settings: Settings) -> None:
        self._publisher.publish(head_pose_array(result, settings.publish_landmarks_in_faces))


class _RawFacesOutput(_TopicOutput):
    def publish(self, result: FrameResult, settings: Settings) -> None:
        measured = dataclasses.replace(result, heads=result.raw_heads)
        self._publisher.publish(head_pose_array(measured, settings.publish_landmarks_in_faces))


class _CloudOutput(_TopicOutput):
    def publish(self, result: FrameResult, settings: Settings) -> None:
        self._publisher.publish(landmark_cloud(result))


class _OverlayOutput(_TopicOutput):
    def publish(self, result: FrameResult, settings: Settings) -> None:
        length_m = settings.marker_axes_length
        drawn = draw_heads(result.image_bgr, result.heads, result.camera, axes_length_m=length_m)
        self._publisher.publish(image_message(result.header, drawn))


class _MarkersOutput(_TopicOutput):
    def __init__(self, publisher: Publisher[Any], triangles: npt.NDArray[np.integer]) -> None:
        super().__init__(publisher)
        self._markers = FaceMarkers(triangles)

    def publish(self, result: FrameResult, settings: Settings) -> None:
        self._publisher.publish(self._markers.build(result, settings))

    def clear(self) -> None:
        if self._markers.shown:
            self._publisher.publish(self._markers.clear())


class _PosesOutput:
    """One topic per slot; `build` makes its message."""

    def __init__(
        self, publishers: list[Publisher[Any]], build: Callable[[Header, TrackedHead, Pose], Any]
    ) -> None:
        self._publishers = publishers
        self._build = build

    def wanted(self, settings: Settings) -> bool:
        return any(publisher.get_subscription_count() > 0 for publisher in self._publishers)

    def publish(self, result: FrameResult, settings: Settings) -> None:
        latest = result.latest
        for tracked, pose in zip(latest.heads, latest.face_poses, strict=True):
            publisher = self._publishers[tracked.slot]
            if publisher.get_subscription_count() > 0:
                publisher.publish(self._build(latest.header, tracked, pose))

    def clear(self) -> None:
        pass


class _TransformsOutput:
    """/tf, whoever of its many listeners it may be for. A transform that can't be right is not sent."""

    def __init__(self, broadcaster: TransformBroadcaster, node_name: str) -> None:
        self._broadcaster = broadcaster
        self._node_name = node_name

    def wanted(self, settings: Settings) -> bool:
        own = 1 if settings.filtering_frame else 0  # smoothing.FixedFrame listens, too
        return settings.publish_tf and self._broadcaster.pub_tf.get_subscription_count() > own

    def publish(self, result: FrameResult, settings: Settings) -> None:
        latest = result.latest
        # tf2 ignores a second transform with the same stamp: with zeros the first would stay for ever.
        if latest.heads and latest.header.frame_id and nanoseconds(latest.header) > 0:
            prefix = frame_prefix(settings.tf_prefix, self._node_name)
            self._broadcaster.sendTransform(transforms(latest, prefix))

    def clear(self) -> None:
        pass


class _TimingOutput(_TopicOutput):
    """Where the time of each image went; the last output, so that it knows about the others."""

    def __init__(self, publisher: Publisher[Any], node: Node) -> None:
        super().__init__(publisher)
        self._node = node

    def publish(self, result: FrameResult, settings: Settings) -> None:
        result.stopwatch.lap("publishing")
        now, name = self._node.get_clock().now(), self._node.get_fully_qualified_name()
        self._publisher.publish(timing_array(result, now, name))


class Outputs:
    """All outputs of a node. Create and destroy it on the executor's thread."""

    def __init__(
        self, node: Node, max_faces: int, triangles: npt.NDArray[np.integer], on_matched: Callable[[], None]
    ) -> None:
        """`on_matched` is called when a subscriber comes or goes, where the distribution tells (not Humble).

        :param triangles: (T, 3) indices into the dense landmarks.
        """
        self._node = node
        self._publishers: list[Publisher[Any]] = []
        self._on_matched = on_matched
        self._broadcaster = TransformBroadcaster(node)
        poses = [self._create(PoseStamped, f"~/face_{slot}/pose") for slot in range(max_faces)]
        uncertain = [
            self._create(PoseWithCovarianceStamped, f"~/face_{slot}/pose_with_covariance")
            for slot in range(max_faces)
        ]
        self.all: dict[str, Output] = {
            "faces": _FacesOutput(self._create(HeadPoseArray, "~/faces")),
            "poses": _PosesOutput(poses, pose_stamped),
            "poses_with_covariance": _PosesOutput(uncertain, pose_with_covariance_stamped),
            "tf": _TransformsOutput(self._broadcaster, node.get_fully_qualified_name()),
            "faces_raw": _RawFacesOutput(self._create(HeadPoseArray, "~/faces_raw")),
            "landmarks": _MarkersOutput(self._create(MarkerArray, "~/landmarks"), triangles),
            "landmark_cloud": _CloudOutput(self._create(PointCloud2, "~/landmark_cloud")),
            "overlay": _OverlayOutput(self._create(Image, "~/overlay", _IMAGE_QOS)),
        }
        self._hri = self._make_hri()
        if self._hri is not None:
            self.all["hri"] = self._hri
        self.all["timing"] = _TimingOutput(self._create(DiagnosticArray, "~/timing"), node)

    def _make_hri(self) -> HriOutput | None:
        try:
            import hri_msgs.msg
        except ImportError:  # an option: REP 155 is for those who have ROS4HRI
            return None
        return HriOutput(self._node, hri_msgs.msg, self._broadcaster, _quiet_events(), self._create)

    def _create(self, message_type: Any, topic: str, qos: QoSProfile = _QOS) -> Publisher[Any]:
        events = _matched_event(self._on_matched)
        try:
            publisher = self._node.create_publisher(message_type, topic, qos, event_callbacks=events)
        except UnsupportedEventTypeError:  # a middleware that doesn't tell; the node polls
            publisher = self._node.create_publisher(message_type, topic, qos)
        self._publishers.append(publisher)
        return publisher

    def wanted(self, settings: Settings) -> list[str]:
        """Names of the outputs that somebody listens to."""
        return [name for name, output in self.all.items() if output.wanted(settings)]

    def publish(self, result: FrameResult, settings: Settings) -> None:
        """Send what is wanted, the small and urgent first."""
        for output in self.all.values():
            if output.wanted(settings):
                output.publish(result, settings)

    def clear(self) -> None:
        """No face is known any more."""
        for output in self.all.values():
            output.clear()

    def destroy(self) -> None:
        """Take all topics off the graph."""
        if self._hri is not None:
            self._hri.destroy()
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._node.destroy_publisher(self._broadcaster.pub_tf)
        self._publishers.clear()


def _matched_event(on_matched: Callable[[], None]) -> PublisherEventCallbacks:
    if not _HAS_MATCHED_EVENTS:  # the node polls
        return PublisherEventCallbacks()
    return PublisherEventCallbacks(matched=lambda _status: on_matched())


def _quiet_events() -> PublisherEventCallbacks:
    """No callbacks at all: such a publisher may come and go on any thread while the executor spins."""
    return PublisherEventCallbacks(use_default_callbacks=False)
