"""The real node in a process of its own under four faces: memory, latency, transforms and drops over time.

`TRG_SOAK_MINUTES=60 TRG_SOAK_HZ=30 pytest -s test/test_ros_soak.py` for a long one; 20 s at 10 Hz by default.
`TRG_SOAK_REPORT=soak.json` keeps what was seen.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from ros_harness import NodeProcess, Robot
from tf2_msgs.msg import TFMessage
from trg_ros.msg import HeadPoseArray

from trg_ros.benchmark.machine import describe_machine, load
from trg_ros.camera import CameraModel
from trg_ros.ros.frame import nanoseconds

RENDERED = Path(__file__).parent / "data" / "rendered"
MINUTES = float(os.environ.get("TRG_SOAK_MINUTES", "0.33"))
RATE_HZ = float(os.environ.get("TRG_SOAK_HZ", "10"))
REPORT = os.environ.get("TRG_SOAK_REPORT", "")
WARM_UP = 100
"""Images with all four faces before anything is measured."""
SEGMENTS = 10
"""The run is looked at in that many parts; the first three are for warming up."""


HEADS = {"frontal": (319, 218), "left30": (268, 226), "down_roll": (374, 222), "three": (325, 239)}
"""Picture -> about where in it a head is, px."""


def four_faces() -> np.ndarray:
    """(480, 640, 3) uint8 BGR: four heads cut from four pictures."""
    tiles = []
    for name, (x, y) in HEADS.items():
        image = cv2.imread(str(RENDERED / f"{name}.jpg"))
        tiles.append(cv2.getRectSubPix(image, (320, 240), (x, y)))
    return np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])


@dataclass
class Listener:
    """Counts what comes, keeps little: its own memory must not matter for an hour."""

    latencies_s: list[float] = field(default_factory=list)
    faces: list[int] = field(default_factory=list)
    transforms: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)
    """Stamp -> heads of poses whose transforms haven't come."""
    numbers: dict[str, str] = field(default_factory=dict)

    def on_faces(self, message: HeadPoseArray) -> None:
        stamp = nanoseconds(message.header)
        self.latencies_s.append(1e-9 * (time.time_ns() - stamp))
        self.faces.append(len(message.heads))
        if message.heads and self.transforms.pop(stamp, -1) != 2 * len(message.heads):
            self.waiting[stamp] = len(message.heads)

    def on_tf(self, message: TFMessage) -> None:
        stamp = nanoseconds(message.transforms[0].header)
        if self.waiting.get(stamp, -1) * 2 == len(message.transforms):
            del self.waiting[stamp]
        else:
            self.transforms[stamp] = len(message.transforms)

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        if message.status[0].name == "/headpose" and message.status[0].values:
            self.numbers = {pair.key: pair.value for pair in message.status[0].values}

    def images(self, *counts: str) -> int:
        """Sum of the node's counts of images."""
        return sum(int(self.numbers[f"images {one}"]) for one in counts)

    def unexplained(self) -> int:
        """Images that the node got and that ended in none of its counts; one may be in work."""
        return self.images("received") - self.images(
            "processed", "dropped", "repeated", "late", "refused", "failed"
        )

    def known(self) -> int:
        """Images of which the node knows that they were sent, whether they came or not."""
        return self.images("received", "overtaken", "lost")


@dataclass(frozen=True)
class Segment:
    """A part of the run."""

    sent: int
    answers: int
    faces: float
    p50_s: float
    p95_s: float
    memory_mb: float
    cpu_s: float
    """Of the node."""
    load: float
    """Processes that wanted to run, averaged over the last minute; two of them are ours."""
    overtaken: int
    """Images that newer ones replaced before the node took them."""
    dropped: int
    """Images that came while the node was at another one, and were replaced by a newer one."""

    @classmethod
    def play(cls, robot: Robot, picture: np.ndarray, listener: Listener, node: NodeProcess) -> Segment:
        listener.latencies_s.clear()
        listener.faces.clear()
        used_s = node.cpu_s()
        overtaken, dropped = listener.images("overtaken"), listener.images("dropped")
        sent = play(robot, picture, 60.0 * MINUTES / SEGMENTS)
        # A machine that has no time at all for the node gives no answers in minutes: that isn't its fault.
        p50, p95 = np.quantile(listener.latencies_s or [np.nan], (0.5, 0.95)).round(4)
        answers, faces = len(listener.faces), float(np.mean(listener.faces or [np.nan]))
        cpu_s = round(node.cpu_s() - used_s, 2)
        return cls(
            sent,
            answers,
            faces,
            float(p50),
            float(p95),
            node.memory_mb(),
            cpu_s,
            load()[0],
            listener.images("overtaken") - overtaken,
            listener.images("dropped") - dropped,
        )

    def __str__(self) -> str:
        return (
            f"{self.memory_mb:7.1f} MB  {self.answers:6d} of {self.sent} answered, {self.faces:.2f} faces, "
            f"latency p50 {1e3 * self.p50_s:6.1f} ms  p95 {1e3 * self.p95_s:6.1f} ms  "
            f"{self.cpu_s:.1f} s of CPU  load {self.load:.1f}  "
            f"overtaken {self.overtaken}  dropped {self.dropped}"
        )


def write_report(path: str, segments: list[Segment], listener: Listener, unknown: int) -> None:
    """Everything that was seen, as JSON.

    :param unknown: images that were sent and are in none of the node's counts.
    """
    report = {
        "minutes": MINUTES,
        "rate_hz": RATE_HZ,
        "machine": describe_machine(os.environ.get("TRG_SOAK_MACHINE")),
        "segments": [asdict(segment) for segment in segments],
        "poses_without_transforms": len(listener.waiting),
        "images_unknown_to_the_node": unknown,
        "node": {key: value for key, value in listener.numbers.items() if "topic" not in key},
    }
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


def await_numbers(robot: Robot, listener: Listener) -> bool:
    """Listen until the node has said how things are after the last image."""
    robot.spin(2.0)
    listener.numbers = {}
    return robot.spin_until(lambda: listener.numbers)


def play(robot: Robot, picture: np.ndarray, seconds: float) -> int:
    """Send the picture, moved to and fro a little, stamped now; returns how often."""
    end, sent = time.monotonic() + seconds, 0
    while (now := time.monotonic()) < end:
        robot.image = np.roll(picture, round(12 * np.sin(now)), axis=1)
        robot.stamp_ns = time.time_ns() - robot.step_ns
        robot.send()
        sent += 1
        robot.spin(max(0.0, now + 1.0 / RATE_HZ - time.monotonic()))
    return sent


@pytest.mark.fault("a long run with four faces", "memory flat, all transforms there, every drop explained")
@pytest.mark.timeout(600 + 60 * MINUTES)
@pytest.mark.usefixtures("with_detector", "packaged")
def test_a_long_run_leaves_no_trace(
    robot: Robot, start: Callable[..., NodeProcess], record_property: Callable[[str, object], None]
) -> None:
    robot.camera, robot.boxes = CameraModel.from_fov(60.0, 640, 480), []
    listener, picture = Listener(), four_faces()
    robot.listen("headpose/faces", HeadPoseArray, callback=listener.on_faces)
    robot.listen("/tf", TFMessage, callback=listener.on_tf)
    robot.listen("/diagnostics", DiagnosticArray, callback=listener.on_diagnostics)
    node = start("trg_ros.ros.node", threads=1, min_score=0.0)
    robot.image = picture
    warm = robot.spin_until(lambda: listener.faces.count(4) >= WARM_UP, timeout_s=400.0, sending=True)
    assert warm, f"faces in images: {Counter(listener.faces)}\n{node.log}"
    assert await_numbers(robot, listener)
    known, segments = listener.known(), []
    for _ in range(SEGMENTS):
        assert node.process.poll() is None, node.log
        segments.append(Segment.play(robot, picture, listener, node))
        print(segments[-1], flush=True)
    sent = sum(segment.sent for segment in segments)
    answered = sum(segment.answers for segment in segments)
    assert await_numbers(robot, listener)
    unknown = sent - (listener.known() - known)
    robot.spin_until(lambda: not listener.waiting)
    print(f"sent {sent}, answered {answered}, without transforms {len(listener.waiting)}", end=", ")
    print(f"unknown to the node {unknown}", listener.numbers)
    if REPORT:
        write_report(REPORT, segments, listener, unknown)
    settled = segments[3:]
    growth_mb = settled[-1].memory_mb - settled[0].memory_mb
    record_property(
        "measured",
        f"{MINUTES:g} min at {RATE_HZ:g} Hz: {answered} of {sent} images answered, "
        f"{listener.images('overtaken')} overtaken, {unknown} unknown, memory {growth_mb:+.1f} MB, "
        f"latency p50 {1e3 * settled[0].p50_s:.0f} -> {1e3 * settled[-1].p50_s:.0f} ms",
    )
    assert not listener.waiting, "poses without transforms"
    assert 0 <= listener.unexplained() <= 1
    assert unknown == 0, "images that were sent and that the node knows nothing of"
    assert listener.numbers["images refused"] == listener.numbers["images failed"] == "0"
    assert growth_mb < 5.0, [segment.memory_mb for segment in segments]
