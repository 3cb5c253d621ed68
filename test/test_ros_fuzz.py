"""Damaged messages, many of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from rclpy.serialization import serialize_message
from ros_bad_inputs import camera_info, image
from ros_harness import NodeProcess, Robot
from sensor_msgs.msg import CameraInfo, Image
from trg_ros.msg import FaceBox, FaceBoxArray, HeadPoseArray


@pytest.mark.fault(
    "1,000 damaged images and calibrations",
    "each refused, none gives a pose, memory stays, a good one is answered",
)
def test_a_thousand_damaged_messages(stand_in: Path, record_property: Callable[[str, object], None]) -> None:
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("ros_fuzz.py"), stand_in],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    record_property("measured", f"memory {said['grown_mb']:+.1f} MB over the last 800")
    assert said["answered"] == said["good"]
    assert (said["refused"], said["failed"], said["heads"]) == (1000, 0, 1)
    assert said["grown_mb"] < 5.0


@pytest.mark.fault("bytes on the wire that are no message", "the node lives, the next good image is answered")
def test_garbage_on_the_wire(robot: Robot, start: Callable[..., NodeProcess], stand_in: Path) -> None:
    """Serialized messages with some bytes overwritten: lengths of strings and arrays among them."""
    faces = robot.listen("headpose/faces", HeadPoseArray)
    node = start("trg_ros.ros.node", checkpoint=stand_in, detector="topic", threads=1, min_score=0.0)
    assert robot.spin_until(lambda: faces, timeout_s=90.0, sending=True), node.log
    boxes = FaceBoxArray(boxes=[FaceBox(left=1.0, top=1.0, right=9.0, bottom=9.0, score=0.9)])
    rng = np.random.default_rng(1)
    messages = {"image": image(), "camera_info": camera_info(), "detections": boxes}
    types = {"image": Image, "camera_info": CameraInfo, "detections": FaceBoxArray}
    for topic, message in messages.items():
        good = np.frombuffer(serialize_message(message), np.uint8)
        publisher = robot.create_publisher(types[topic], topic, 5)
        for _ in range(60):
            bad = good.copy()
            where = rng.integers(4, min(len(bad), 120), rng.integers(1, 12))
            bad[where] = rng.integers(0, 256, len(where))
            publisher.publish(bad[: rng.integers(8, len(bad) + 1)].tobytes())
            robot.spin(0.005)
        robot.destroy_publisher(publisher)
        assert node.process.poll() is None, node.log
    faces.clear()
    assert robot.spin_until(lambda: faces and faces[-1].heads, sending=True), node.log
    assert all(np.isfinite(head.pose.pose.position.z) for message in faces for head in message.heads)
