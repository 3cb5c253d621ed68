"""From one image to all outputs: decode, find the camera, estimate, publish. On the worker thread."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from std_msgs.msg import Header

from trg_ros.errors import CameraError, TrgRosError
from trg_ros.ros.boxes import boxes_from_message
from trg_ros.ros.conversions import compressed_to_bgr, image_to_bgr
from trg_ros.ros.frame import Frame, FrameResult, StampedHeads, nanoseconds
from trg_ros.ros.statistics import Stopwatch

if TYPE_CHECKING:
    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.ros.intrinsics import Intrinsics, IntrinsicsStore
    from trg_ros.ros.log import ThrottledLog
    from trg_ros.ros.parameters import Settings
    from trg_ros.ros.publishers import Outputs
    from trg_ros.ros.smoothing import Smoothing
    from trg_ros.ros.statistics import Statistics
    from trg_ros.tracking import HeadTracker

_GRACE_S = 1.0
"""A camera_info that comes a moment after the first image is no reason to complain."""

_GAP_S = 2.0
"""Without images for that long (nobody listened, the camera paused) nothing that was known holds any more."""


_LATE_S = 1.0
"""An image that is older than the one before, but by less, came late; two in a row are a jump in time."""


@dataclass
class Pipeline:
    """Estimates the heads of one image after the other. Not thread safe: one worker calls it."""

    estimator: HeadPoseEstimator
    tracker: HeadTracker
    intrinsics: IntrinsicsStore
    outputs: Outputs
    statistics: Statistics
    log: ThrottledLog
    ros_time_s: Callable[[], float]
    smoothing: Smoothing
    _stamp_s: float | None = None
    _late: bool = False  # the last image was
    _told_ns: int = 0  # what the last poses and transforms were for
    _newest_s: float = -math.inf  # of the steady clock
    _reset_requested: threading.Event = field(default_factory=threading.Event)

    def process(self, frame: Frame, settings: Settings) -> None:
        """Publish what one image shows; an image that can't be used is counted and complained about."""
        self._newest_s = time.monotonic()
        self._reset_if_requested()
        if not self.outputs.wanted(settings):
            return
        stopwatch = Stopwatch(frame.arrived_s)
        stopwatch.lap("waiting")
        stamp_s = self._accept_stamp(frame)
        if stamp_s is None:
            return
        try:
            result = self._estimate(frame, stamp_s, settings, stopwatch)
        except CameraError as error:
            self._refuse(str(error))
            if self.intrinsics.received:  # otherwise it is among the missing inputs of diagnostics.py
                self.log.warn("camera_info", str(error), _GRACE_S)
            return
        except TrgRosError as error:
            self._refuse(str(error))
            self.log.warn("image", f"image skipped: {error}")
            return
        stamped = nanoseconds(result.header) > 0
        if stamped:
            result = replace(result, prediction=self._latest(result, stamp_s, settings))
        self.outputs.publish(result, settings)
        age_s = self.ros_time_s() - stamp_s if stamped else None
        stopwatch.lap("publishing")
        processing_s = stopwatch.total_s - stopwatch.laps_s["waiting"]
        self.statistics.processed(processing_s, age_s, len(result.heads))

    def idle(self) -> None:
        """No image came for a while: what viewers still show is over."""
        self._reset_if_requested()
        if time.monotonic() - self._newest_s > _GAP_S:
            self.outputs.clear()

    def request_reset(self) -> None:
        """Forget all tracks before the next image. From any thread."""
        self._reset_requested.set()

    def search(self, on: bool) -> None:
        """Whether to look for faces that aren't tracked yet. From any thread."""
        self.tracker.searching = on

    def _reset_if_requested(self) -> None:
        if self._reset_requested.is_set():
            self._reset_requested.clear()
            self.reset()

    def reset(self) -> None:
        """Forget all tracks, and take back what viewers still show."""
        self.tracker.reset()
        self.smoothing.reset()
        self.outputs.clear()
        self._stamp_s = None

    def close(self) -> None:
        """Give the detector's thread back."""
        self.tracker.close()

    @property
    def detections(self) -> int:
        """How many images were searched for faces. From any thread."""
        return self.tracker.detections

    def _accept_stamp(self, frame: Frame) -> float | None:
        """The image's time in seconds; None to leave it out: seen already, or late, and counted as such."""
        stamp_ns = nanoseconds(frame.message.header)
        if stamp_ns <= 0:
            self.log.warn(
                "stamp",
                "images have stamp zero: no TF is published for them, and time between them is "
                "measured on arrival; let the camera driver stamp its images",
            )
            return frame.arrived_s
        stamp_s = 1e-9 * stamp_ns
        step_s = math.inf if self._stamp_s is None else stamp_s - self._stamp_s
        if step_s == 0.0:
            self.statistics.count("repeated")
            return None
        self._late = -_LATE_S < step_s < 0.0 and not self._late
        if self._late:
            self.statistics.count("late")
            self.log.warn(
                "late",
                f"left out an image that is {-step_s:.3f} s older than the one before: images come in the "
                "wrong order, or from two cameras on one topic (ros2 topic info --verbose)",
            )
            return None
        if step_s < 0.0:
            self._go_back(-step_s)
        elif _GAP_S < step_s < math.inf:
            self.tracker.reset()
        self._stamp_s = stamp_s
        return stamp_s

    def _go_back(self, seconds: float) -> None:
        """Start afresh: nothing that was known holds at an earlier time."""
        self.log.warn("jump", f"image time went back by {seconds:.3f} s (a looped bag?): tracks start afresh")
        self.statistics.count("resets")
        self.reset()
        self.smoothing.time_went_back()
        self._told_ns = 0

    def _estimate(
        self, frame: Frame, stamp_s: float, settings: Settings, stopwatch: Stopwatch
    ) -> FrameResult:
        message = frame.message
        image_bgr = image_to_bgr(message) if hasattr(message, "encoding") else compressed_to_bgr(message)
        height, width = image_bgr.shape[:2]
        frame_id = message.header.frame_id
        intrinsics = self.intrinsics.for_image(message.header, width, height, settings, time.monotonic())
        self.log.settled("camera_info")
        boxes, scores = None, None
        if frame.boxes is not None:
            boxes, scores = boxes_from_message(frame.boxes, width, height)
        stopwatch.lap("decoding")
        self.tracker.mirror = settings.mirror
        tracked = self.tracker.update(image_bgr, intrinsics.camera, stamp_s, boxes=boxes, scores=scores)
        stopwatch.lap("estimating")
        # A pose that can't be right is not published: NaN would stay in every tf2 buffer that hears it.
        raw = [one for one in tracked if np.isfinite(one.head.camera_T_face).all()]
        header = Header(stamp=message.header.stamp, frame_id=frame_id or intrinsics.frame_id)
        heads = self.smoothing.apply(raw, intrinsics.camera, header, stamp_s, settings)
        stopwatch.lap("smoothing")
        self._explain(header, intrinsics)
        return FrameResult(
            header,
            image_bgr,
            intrinsics.camera,
            heads,
            intrinsics.assumed,
            self.estimator.checkpoint.info.name,
            raw,
            stopwatch,
        )

    def _latest(self, result: FrameResult, stamp_s: float, settings: Settings) -> StampedHeads | None:
        """What is known about now. No heads where that isn't newer than what was told already.

        For transforms and poses never go back, and tf2 ignores a second transform with the same stamp: /clock
        may tick more slowly than the camera.
        """
        prediction = None
        if settings.latency_compensation > 0.0:
            prediction = self._predict(result, stamp_s, settings.latency_compensation)
        latest_ns = nanoseconds((prediction or result.seen).header)
        if latest_ns <= self._told_ns:
            return StampedHeads(result.header, ())
        self._told_ns = latest_ns
        return prediction

    def _predict(self, result: FrameResult, stamp_s: float, limit_s: float) -> StampedHeads | None:
        """The heads as they should be now, but at most `limit_s` after their image."""
        age_s = self.ros_time_s() - stamp_s
        if abs(age_s) > _GAP_S:
            self.log.warn(
                "clock",
                f"images are {age_s:.1f} s old by this node's clock, so poses are not predicted: play bags "
                "with --clock and set use_sim_time, or let the camera driver stamp its images in ROS time",
            )
            return None
        self.log.settled("clock")
        return self.smoothing.ahead(result.heads, result.header, min(age_s, limit_s))

    def _explain(self, header: Header, intrinsics: Intrinsics) -> None:
        if intrinsics.warning:
            self.log.warn("intrinsics", intrinsics.warning, _GRACE_S)
        else:
            self.log.settled("intrinsics")
        if not header.frame_id:
            self.log.warn(
                "frame_id",
                "neither the image nor its camera_info has a frame_id: no TF is published; set the "
                "camera driver's frame_id to the camera's optical frame",
            )

    def _refuse(self, text: str) -> None:
        self.statistics.count("refused")
        self.statistics.problem(text)
        self.outputs.clear()
