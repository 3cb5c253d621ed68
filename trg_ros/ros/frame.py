"""What goes into the pipeline and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from std_msgs.msg import Header

from trg_ros.ros.stopwatch import Stopwatch

if TYPE_CHECKING:
    from trg_ros.camera import CameraModel
    from trg_ros.tracking import TrackedHead


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
class Prediction:
    """Heads as they should be some time after their image. Only their poses and covariances mean anything."""

    header: Header
    """The time that the poses are for, and the camera's frame."""
    heads: Sequence[TrackedHead]


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
    prediction: Prediction | None = None
    """None: nobody asked for one, or there was nothing to gain."""

    @property
    def latest(self) -> Prediction:
        """The newest that is known about where the heads are, and for when: the prediction or the image."""
        return self.prediction or Prediction(self.header, self.heads)
