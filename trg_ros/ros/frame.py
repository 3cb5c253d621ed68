"""What goes into the pipeline and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Pose
from std_msgs.msg import Header

from trg_ros.geometry import FACE_R_GAZE
from trg_ros.ros.poses import pose_messages
from trg_ros.ros.statistics import Stopwatch

if TYPE_CHECKING:
    from trg_ros.camera import CameraModel
    from trg_ros.tracking import TrackedHead


def nanoseconds(header: Header) -> int:
    """A header's stamp; 0 or less: none."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


@dataclass(frozen=True)
class Frame:
    """An image as it came, and the boxes that came for it."""

    message: Any
    """sensor_msgs/Image or CompressedImage."""
    boxes: Any = None
    """FaceBoxArray or Detection2DArray; None: find the faces ourselves."""
    arrived_s: float = 0.0
    """Seconds of the steady clock."""


@dataclass(frozen=True)
class StampedHeads:
    """Heads at one moment: their image's, or a later one that was predicted. Messages share the poses."""

    header: Header
    """The time that the poses are for, and the camera's frame."""
    heads: Sequence[TrackedHead]

    @cached_property
    def face_poses(self) -> list[Pose]:
        """camera_T_face of each."""
        return pose_messages([tracked.head.camera_T_face for tracked in self.heads])

    @cached_property
    def gaze_poses(self) -> list[Pose]:
        """The same origins, optical axes, z out of the face."""
        matrices = np.array([tracked.head.camera_T_face for tracked in self.heads]).reshape(-1, 4, 4)
        matrices[:, :3, :3] = matrices[:, :3, :3] @ FACE_R_GAZE
        return pose_messages(matrices)


@dataclass(frozen=True)
class FrameResult:
    """What one image gave; the one input of every output."""

    header: Header
    """Stamp and frame of the image."""
    image_bgr: npt.NDArray[np.uint8]
    """(H, W, 3) uint8 BGR; may be a view of the incoming message: read only."""
    camera: CameraModel
    heads: Sequence[TrackedHead]
    intrinsics_assumed: bool
    checkpoint: str
    """Name of the weights."""
    raw_heads: Sequence[TrackedHead] = ()
    """`heads` as they were measured, before any smoothing."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    """Runs since the image arrived."""
    prediction: StampedHeads | None = None
    """None: nobody asked for one, or nothing to gain. Without heads: there is nothing new to say."""

    @cached_property
    def seen(self) -> StampedHeads:
        """The heads in the image."""
        return StampedHeads(self.header, self.heads)

    @property
    def latest(self) -> StampedHeads:
        """The newest that is known about where the heads are, and for when."""
        return self.prediction or self.seen
