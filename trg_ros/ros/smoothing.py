"""The smoothing of trg_ros/tracking/filtering.py for the node: when, and in which frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import tf2_ros
from builtin_interfaces.msg import Time as TimeMessage
from rclpy.duration import Duration
from rclpy.time import Time
from std_msgs.msg import Header

from trg_ros.errors import InputError
from trg_ros.ros.frame import StampedHeads, nanoseconds
from trg_ros.ros.poses import load_tf_transformations
from trg_ros.tracking.filtering import PoseSmoother

if TYPE_CHECKING:
    from geometry_msgs.msg import TransformStamped
    from rclpy.node import Node

    from trg_ros.camera import CameraModel
    from trg_ros.ros.log import ThrottledLog
    from trg_ros.ros.parameters import Settings
    from trg_ros.tracking import TrackedHead

_WAIT_S = 0.05
"""A transform may come that much later than its image."""
_SHORTEST_QUATERNION = 1e-6
"""tf_transformations takes those shorter than 1.5e-8 for the identity."""


class CameraMotion(Protocol):
    """Knows where the camera is in a frame that stands still."""

    def fixed_T_camera(self, header: Header) -> npt.NDArray[np.float64]:
        """(4, 4) at the time of an image. Raises InputError if nobody tells."""

    def known_until_ns(self, frame_id: str) -> int:
        """The last time for which it knows that; 0 where it never moves. Raises InputError."""

    def forget(self) -> None:
        """Time went back: what is known is of the future."""


class FixedFrame:
    """A frame of the robot's TF tree, `filtering_frame`."""

    def __init__(self, node: Node, frame: str) -> None:
        """Listens to /tf from now on.

        Raises InputError where tf2_ros can only send, as the stand-in for machines without a distribution,
        and where tf_transformations can't be loaded.
        """
        if not hasattr(tf2_ros, "Buffer"):
            raise InputError(
                f"filtering_frame is '{frame}', but this tf2_ros can't listen to transforms: install tf2_ros "
                "of a ROS distribution, or leave filtering_frame empty (the camera's own frame)"
            )
        self._frame = frame
        self._matrix_of = load_tf_transformations("filtering_frame").quaternion_matrix
        tf2: Any = tf2_ros
        self._buffer = tf2.Buffer()
        self._listener = tf2.TransformListener(self._buffer, node)
        self._failure = tf2.TransformException

    def fixed_T_camera(self, header: Header) -> npt.NDArray[np.float64]:
        stamped = self._look_up(header.frame_id, Time.from_msg(header.stamp), _WAIT_S)
        rotation, translation = stamped.transform.rotation, stamped.transform.translation
        quaternion = [rotation.x, rotation.y, rotation.z, rotation.w]
        if np.linalg.norm(quaternion) < _SHORTEST_QUATERNION:
            raise InputError(
                f"the transform from {header.frame_id} to filtering_frame {self._frame} has a quaternion of "
                "zeros, which is no rotation; its publisher has to send (0, 0, 0, 1) for the identity"
            )
        fixed_T_camera: npt.NDArray[np.float64] = self._matrix_of(quaternion)
        fixed_T_camera[:3, 3] = translation.x, translation.y, translation.z
        return fixed_T_camera

    def known_until_ns(self, frame_id: str) -> int:
        return nanoseconds(self._look_up(frame_id, Time(), 0.0).header)  # of time zero: the newest

    def forget(self) -> None:
        # tf2 refuses transforms that are older than those it has, and only looks for jumps of /clock.
        self._buffer.clear()

    def _look_up(self, frame_id: str, time: Time, wait_s: float) -> TransformStamped:
        try:
            return self._buffer.lookup_transform(self._frame, frame_id, time, Duration(seconds=wait_s))
        except self._failure as error:
            raise InputError(
                f"no transform from {frame_id} to filtering_frame {self._frame}: {error}; poses are not "
                "smoothed meanwhile"
            ) from error

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()


class Smoothing:
    """Smooths heads as the settings say. For the worker's thread."""

    def __init__(self, motion: CameraMotion | None, log: ThrottledLog) -> None:
        """`motion`: None filters in the camera's frame."""
        self._motion = motion
        self._log = log
        self._smoother = PoseSmoother()
        self._smoothed = False  # the heads of the last image

    def apply(
        self,
        heads: Sequence[TrackedHead],
        camera: CameraModel,
        header: Header,
        stamp_s: float,
        settings: Settings,
    ) -> Sequence[TrackedHead]:
        """The heads as they should be published."""
        self._smoothed = False
        if not settings.smoothing:
            self.reset()
            return heads
        fixed_T_camera = None
        if self._motion is not None and heads:
            try:
                fixed_T_camera = self._motion.fixed_T_camera(header)
            except InputError as error:
                self._log.warn("filtering_frame", str(error))
                return heads
            self._log.settled("filtering_frame")
        self._smoothed = True
        return self._smoother.update(heads, camera, stamp_s, fixed_T_camera)

    def ahead(self, heads: Sequence[TrackedHead], header: Header, step_s: float) -> StampedHeads | None:
        """What `apply` just returned, `step_s` after its image; None where nothing can be said.

        Not further than TF knows where a camera that moves is.
        """
        if not self._smoothed or not heads:
            return None
        image_ns, fixed_T_camera = nanoseconds(header), None
        then_ns = image_ns + round(1e9 * step_s)
        try:
            if self._motion is not None:
                then_ns = min(then_ns, self._motion.known_until_ns(header.frame_id) or then_ns)
            if then_ns <= image_ns:
                return None
            seconds, rest = divmod(then_ns, 1_000_000_000)
            then = Header(stamp=TimeMessage(sec=seconds, nanosec=rest), frame_id=header.frame_id)
            if self._motion is not None:
                fixed_T_camera = self._motion.fixed_T_camera(then)
        except InputError:  # the transform of the image was there, so it is about this one only
            return None
        return StampedHeads(then, self._smoother.ahead(heads, 1e-9 * (then_ns - image_ns), fixed_T_camera))

    def reset(self) -> None:
        """Start afresh with the next image."""
        self._smoother.reset()

    def time_went_back(self) -> None:
        """Start afresh, also with what TF said."""
        self.reset()
        if self._motion is not None:
            self._motion.forget()
