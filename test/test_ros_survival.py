"""Processes that are killed, stopped, doubled, and whose surroundings change."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import rclpy
from ros_harness import NodeProcess, Robot
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from trg_ros.msg import HeadPoseArray

from trg_ros.camera import CameraModel
from trg_ros.checkpoint import load_checkpoint, save_checkpoint

NODE = "trg_ros.ros.node"
RENDERED = Path(__file__).parent / "data" / "rendered"
Start = Callable[..., NodeProcess]
Record = Callable[[str, object], None]


def stand_in_options(stand_in: Path) -> dict[str, Any]:
    """Parameters of a node with the stand-in network."""
    return {"checkpoint": stand_in, "detector": "topic", "threads": 1, "max_faces": 3, "min_score": 0.0}


@pytest.mark.fault("kill -9", "poses are back soon after a new start; leftovers in shared memory do no harm")
@pytest.mark.usefixtures("packaged", "with_detector")
def test_a_killed_node_is_replaced(robot: Robot, start: Start, record_property: Record) -> None:
    robot.image = cv2.imread(str(RENDERED / "frontal.jpg"))
    robot.camera, robot.boxes = CameraModel.from_fov(60.0, 640, 480), []
    faces = robot.listen("headpose/faces", HeadPoseArray)

    def start_and_wait() -> tuple[NodeProcess, float]:
        started_s = time.monotonic()
        node = start(NODE, threads=1)
        assert robot.spin_until(lambda: any(m.heads for m in faces), timeout_s=90.0, sending=True), node.log
        return node, time.monotonic() - started_s

    first, _ = start_and_wait()
    first.process.kill()
    first.process.wait(10.0)
    robot.spin(0.3)
    faces.clear()
    again, seconds = start_and_wait()
    record_property("measured", f"poses {seconds:.1f} s after the start, {again.cpu_s():.1f} s of CPU")


@pytest.mark.fault("SIGINT or SIGTERM, idle or busy", "status 0, no traceback")
def test_signals_end_the_node_cleanly(
    robot: Robot, start: Start, stand_in: Path, record_property: Record
) -> None:
    faces = robot.listen("headpose/faces", HeadPoseArray)
    options = stand_in_options(stand_in)
    nodes = {
        "busy": (start(NODE, **options), signal.SIGTERM),
        "idle": (start(NODE, namespace="/idle", **options), signal.SIGTERM),
        "interrupted": (start(NODE, namespace="/other", **options), signal.SIGINT),
    }
    assert robot.spin_until(
        lambda: faces and all("waiting for images" in node.log for node, _ in nodes.values()),
        timeout_s=90.0,
        sending=True,
    )
    took = []
    for name, (node, signal_number) in nodes.items():
        started_s = time.monotonic()
        assert node.stop(signal_number) == 0, node.log
        took.append(f"{name} {time.monotonic() - started_s:.2f} s")
        assert "Traceback" not in node.log
    record_property("measured", ", ".join(took))


@pytest.mark.fault(
    "two cameras, two nodes on one machine",
    "each answers its own camera; they share no frame, without any parameter",
)
def test_two_nodes_serve_two_cameras(start: Start, stand_in: Path) -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    robots = {side: Robot(context, f"/{side}") for side in ("left", "right")}
    try:
        answers, transforms = {}, {}
        for side, robot in robots.items():
            start(NODE, namespace=f"/{side}", **stand_in_options(stand_in))
            robot.frame_id = f"{side}_camera"
            answers[side] = robot.listen("headpose/faces", HeadPoseArray)
            transforms[side] = robot.listen("/tf", TFMessage)
        both = list(robots.values())

        def everybody() -> bool:
            for robot in both:
                robot.send()
                robot.spin(0.02)
            parents = {t.header.frame_id for m in transforms["left"] for t in m.transforms}
            return all(answers.values()) and len(parents) == 2

        end = time.monotonic() + 90.0
        while not everybody():
            assert time.monotonic() < end
        tree = {(t.header.frame_id, t.child_frame_id) for m in transforms["left"] for t in m.transforms}
        for side in robots:
            children = {child for parent, child in tree if parent == f"{side}_camera"}
            assert children == {f"{side}/{kind}_{slot}" for kind in ("face", "gaze") for slot in (0, 1)}
            assert {message.header.frame_id for message in answers[side]} == {f"{side}_camera"}
    finally:
        for robot in robots.values():
            robot.destroy_node()
        rclpy.try_shutdown(context=context)


@pytest.mark.fault("DDS participants that come and go", "poses go on, memory stays")
def test_participants_come_and_go(
    robot: Robot, start: Start, stand_in: Path, record_property: Record
) -> None:
    faces = robot.listen("headpose/faces", HeadPoseArray)
    node = start(NODE, **stand_in_options(stand_in))
    overlays: list[Image] = []
    overlay = robot.create_subscription(Image, "headpose/overlay", overlays.append, 5)
    # What the first of everything costs isn't what visitors cost: a short visit on a busy machine gets none.
    assert robot.spin_until(lambda: len(faces) > 20 and overlays, timeout_s=90.0, sending=True), node.log
    robot.destroy_subscription(overlay)
    memory_mb = []
    for _ in range(3):
        for _ in range(8):
            visit(robot)
        memory_mb.append(node.memory_mb())
    faces.clear()
    assert robot.spin_until(lambda: len(faces) > 3, sending=True)
    record_property("measured", f"memory {memory_mb[-1] - memory_mb[0]:+.1f} MB over 16 visits")
    assert memory_mb[-1] - memory_mb[0] < 8.0, memory_mb


def visit(robot: Robot) -> None:
    """A participant joins, listens to everything large, talks, and leaves."""
    context = rclpy.Context()
    rclpy.init(context=context)
    visitor = rclpy.create_node("visitor", context=context)
    heard: list[Any] = []
    visitor.create_subscription(HeadPoseArray, "headpose/faces", heard.append, 5)
    visitor.create_subscription(Image, "headpose/overlay", heard.append, 5)
    visitor.create_publisher(Image, "elsewhere", 1)
    for _ in range(3):
        robot.send()
        robot.spin(0.05)
    visitor.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.fault(
    "checkpoint replaced, then damaged, under the running node",
    "it goes on with what it has; a configure takes the new one or names what is wrong",
)
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_a_checkpoint_may_change_under_the_node(
    robot: Robot, start: Start, stand_in: Path, tmp_path: Path, backend: str
) -> None:
    path = tmp_path / "weights.safetensors"
    shutil.copy(stand_in, path)
    faces = robot.listen("headpose/faces", HeadPoseArray)
    node = start(NODE, backend=backend, **{**stand_in_options(stand_in), "checkpoint": path})
    assert robot.spin_until(lambda: faces, timeout_s=90.0, sending=True), node.log

    def answers_as(name: str) -> bool:
        faces.clear()
        found = robot.spin_until(lambda: faces and faces[-1].heads, timeout_s=10.0, sending=True)
        return found and faces[-1].checkpoint == name

    with path.open("r+b") as file:  # in place, as `cp` does: a mapped file would pull the rug from under us
        file.truncate(100)
    assert answers_as("stand-in"), node.log
    shutil.copy(renamed(stand_in, tmp_path / "other.safetensors", "another"), path)
    assert answers_as("stand-in"), node.log
    walk(robot, "deactivate", "cleanup", "configure", "activate")
    assert answers_as("another"), node.log
    walk(robot, "deactivate", "cleanup")
    os.truncate(path, 100)
    assert not robot.change_state("headpose", "configure")
    assert f"{path}: not a safetensors file" in node.log
    assert node.process.poll() is None


def renamed(source: Path, target: Path, name: str) -> Path:
    """The same weights under another name."""
    checkpoint = load_checkpoint(source)
    info = dataclasses.replace(checkpoint.info, name=name)
    save_checkpoint(target, dataclasses.replace(checkpoint, info=info))
    return target


def walk(robot: Robot, *transitions: str) -> None:
    for transition in transitions:
        assert robot.change_state("headpose", transition), transition
