"""Latency compensation: what is predicted, and for when; what stays at the image; whose clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from ros_harness import BOXES, Recorder
from ros_outputs import at
from ros_rig import Rig
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from trg_ros.msg import HeadPoseArray

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPose
from trg_ros.geometry import make_transform
from trg_ros.ros.frame import nanoseconds
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.messages import frame_prefix
from trg_ros.ros.parameters import Settings
from trg_ros.ros.smoothing import Smoothing
from trg_ros.tracking import TrackedHead

CAMERA = CameraModel.from_fov(60.0, 640, 480)
MS = 1_000_000
SPEED = 0.5
"""m/s along x."""


@pytest.mark.parametrize(
    ("wanted", "node", "prefix"),
    [
        ("auto", "/headpose", ""),
        ("auto", "/left/headpose", "left/"),
        ("auto", "/robot/left/headpose", "robot/left/"),
        ("auto", "/driver", "driver/"),
        ("auto", "/car/driver", "car/driver/"),
        ("", "/left/headpose", ""),
        ("mine_", "/left/headpose", "mine_"),
    ],
)
def test_frames_are_named_after_the_node(wanted: str, node: str, prefix: str) -> None:
    assert frame_prefix(wanted, node) == prefix


def stamped(stamp_ns: int) -> Header:
    seconds, rest = divmod(stamp_ns, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=rest), frame_id="camera")


def head_at(place: np.ndarray) -> TrackedHead:
    pose = make_transform(np.eye(3), place)
    covariance = np.diag([1e-4] * 3 + [1e-3] * 3)
    nothing: Any = None
    return TrackedHead(1, 0, HeadPose(pose, pose, 1.0, covariance, CAMERA, nothing, nothing, nothing))


class SlidingCamera:
    """Moves along x with SPEED in a frame that stands still; TF knows it until some time."""

    known_ns = 0

    def fixed_T_camera(self, header: Header) -> np.ndarray:
        if nanoseconds(header) > self.known_ns:
            raise InputError("extrapolation into the future")
        return make_transform(np.eye(3), np.array([1e-9 * nanoseconds(header) * SPEED, 0.0, 0.0]))

    def known_until_ns(self, frame_id: str) -> int:
        return self.known_ns

    def forget(self) -> None:
        self.known_ns = -1


def smoothed_for_a_second(smoothing: Smoothing, x_of: Any, settings: Settings) -> tuple[Header, Any]:
    """Images at 30 Hz of a head at x_of(seconds); the last one's header and heads."""
    for index in range(31):
        header = stamped(1_000_000_000 + index * 33 * MS)
        time_s = 1e-9 * nanoseconds(header)
        heads = [head_at(np.array([x_of(time_s), 0.0, 1.0]))]
        smoothed = smoothing.apply(heads, CAMERA, header, time_s, settings)
    return header, smoothed


def test_a_moving_head_is_predicted() -> None:
    smoothing = Smoothing(None, ThrottledLog(Recorder()))
    header, heads = smoothed_for_a_second(smoothing, lambda time_s: SPEED * time_s, Settings())
    prediction = smoothing.ahead(heads, header, 0.1)
    assert prediction is not None and nanoseconds(prediction.header) == nanoseconds(header) + 100 * MS
    (before,), (after,) = heads, prediction.heads
    assert after.head.camera_T_face[0, 3] - before.head.camera_T_face[0, 3] == pytest.approx(0.05, abs=0.01)
    assert np.linalg.eigvalsh(after.head.covariance - before.head.covariance).min() > 0.0
    assert (after.id, after.slot) == (1, 0)
    assert smoothing.ahead(heads, header, -0.1) is None, "a clock that is behind"
    assert smoothing.ahead([], header, 0.2) is None


def test_what_is_not_smoothed_is_not_predicted() -> None:
    smoothing = Smoothing(None, ThrottledLog(Recorder()))
    header, heads = smoothed_for_a_second(smoothing, lambda time_s: SPEED * time_s, Settings(smoothing=False))
    assert smoothing.ahead(heads, header, 0.1) is None


def test_a_camera_that_moves_is_where_tf_knows_it_to_be() -> None:
    """The head stands still, so the camera makes the difference; TF is 40 ms ahead of the image."""
    motion = SlidingCamera()
    motion.known_ns = 10_000_000_000
    smoothing = Smoothing(motion, ThrottledLog(Recorder()))
    header, heads = smoothed_for_a_second(smoothing, lambda time_s: 2.0 - SPEED * time_s, Settings())
    motion.known_ns = nanoseconds(header) + 40 * MS
    prediction = smoothing.ahead(heads, header, 0.1)
    assert prediction is not None and nanoseconds(prediction.header) == motion.known_ns
    then_s = 1e-9 * motion.known_ns
    assert prediction.heads[0].head.camera_T_face[0, 3] == pytest.approx(2.0 - SPEED * then_s, abs=2e-3)
    motion.known_ns = nanoseconds(header)
    assert smoothing.ahead(heads, header, 0.2) is None
    smoothing.time_went_back()
    assert motion.known_ns == -1, "what it knew was of the future"


class Simulation:
    """/clock, and images that are old by it. One step after the other: every image is answered."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._now_ns = rig, 2_000_000_000_000
        self._clock = rig.robot.create_publisher(Clock, "/clock", 5)
        self._faces = rig.robot.listen("headpose/faces", HeadPoseArray)
        self.poses = rig.robot.listen("headpose/face_0/pose", PoseStamped)

    def tick(self) -> None:
        """33 ms later."""
        self._now_ns += 33 * MS
        self._clock.publish(Clock(clock=stamped(self._now_ns).stamp))
        clock = self._rig.node.get_clock()
        assert self._rig.robot.spin_until(lambda: clock.now().nanoseconds == self._now_ns)

    def step(self, age_ms: int = 60) -> tuple[HeadPoseArray, PoseStamped]:
        """33 ms later: what is known about the image, and the pose alone."""
        self.tick()
        told = len(self.poses)
        image = self.send(age_ms)
        assert self._rig.robot.spin_until(lambda: len(self.poses) == told + 1)
        return image, self.poses[-1]

    def send(self, age_ms: int) -> HeadPoseArray:
        """What is known about an image; the clock stands still."""
        robot = self._rig.robot
        robot.boxes = BOXES[:1]
        robot.stamp_ns = self._now_ns - age_ms * MS - robot.step_ns
        header = robot.send()
        assert robot.spin_until(lambda: at(self._faces, header)), "no answer"
        return at(self._faces, header)


def test_poses_and_transforms_are_for_the_simulated_now_and_the_rest_for_the_image(stand_in: Path) -> None:
    with Rig(stand_in, "/sim", backend="torch", use_sim_time=True, latency_compensation=0.2) as rig:
        robot = rig.robot
        robot.listen("/clock", Clock, callback=lambda _: None)
        simulation = Simulation(rig)
        clouds = robot.listen("headpose/landmark_cloud", PointCloud2)
        uncertain = robot.listen("headpose/face_0/pose_with_covariance", PoseWithCovarianceStamped)
        transforms = robot.listen("/tf", TFMessage)
        assert robot.spin_until(lambda: robot.image_subscribers == 1)
        moved = []
        for _ in range(25):
            image, pose = simulation.step()
            moved.append(abs(pose.pose.position.x - image.heads[0].pose.pose.position.x))
        assert nanoseconds(pose.header) - nanoseconds(image.header) == 60 * MS, "not by the wall clock"
        assert max(moved) > 0.005, "the stand-in lets the head jump about: it moves"
        assert robot.spin_until(lambda: at(transforms, pose.header) and at(uncertain, pose.header))
        assert transforms[-1].transforms[0].transform.translation.x == pose.pose.position.x
        assert (uncertain[-1].pose.covariance > image.heads[0].pose.covariance)[::7].all()
        assert robot.spin_until(lambda: at(clouds, image.header)), "landmarks stay with the picture"
        rig.set(latency_compensation=0.02)
        simulation.tick()  # past what was told already
        image, pose = simulation.step()
        assert nanoseconds(pose.header) - nanoseconds(image.header) == 20 * MS, "no further than allowed"
        image, pose = simulation.step(age_ms=5_000)
        assert pose.header == image.header, "another clock: nothing is made up"


def test_no_moment_is_told_twice_by_a_clock_that_ticks_slowly(stand_in: Path) -> None:
    """Three images within one tick; the last has the very stamp that the first was predicted to."""
    with Rig(stand_in, "/slow", backend="torch", use_sim_time=True, latency_compensation=0.2) as rig:
        robot = rig.robot
        simulation = Simulation(rig)
        transforms = robot.listen("/tf", TFMessage)
        assert robot.spin_until(lambda: robot.image_subscribers == 1)
        for _ in range(3):
            simulation.step()
        for age_ms in (20, 0):
            assert simulation.send(age_ms).heads, "the image's own results don't wait"
        simulation.step(age_ms=20)
        told = [nanoseconds(pose.header) for pose in simulation.poses]
        assert np.diff(told).tolist() == [33 * MS] * 3
        assert robot.spin_until(lambda: len(transforms) >= len(told))
        assert [nanoseconds(message.transforms[0].header) for message in transforms] == told
