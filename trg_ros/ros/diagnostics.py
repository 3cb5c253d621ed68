"""/diagnostics once a second, and a log line every five while an input is missing: which one, and the fix."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from trg_ros.ros.frame import nanoseconds
from trg_ros.ros.shared_memory import unreadable_owners

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from rclpy.node import Node
    from rclpy.time import Time as RosTime

    from trg_ros.ros.frame import FrameResult
    from trg_ros.ros.inputs import Inputs
    from trg_ros.ros.intrinsics import IntrinsicsStore
    from trg_ros.ros.parameters import Settings
    from trg_ros.ros.statistics import Statistics

_SILENCE_S = 2.0
"""An input that hasn't come for that long is missing."""

_MANY = 0.1
"""More than that part of the images not reaching the node is worth a warning."""

_SLOW_S = 0.5
"""An image that takes longer (median) is worth a warning."""


@dataclass(frozen=True)
class MissingInput:
    """An input that should be there: its name in our graph and what to do."""

    name: str
    fix: str


def missing_inputs(
    node: Node, inputs: Inputs, intrinsics: IntrinsicsStore, statistics: Statistics, settings: Settings
) -> list[MissingInput]:
    """What the pipeline waits for; nothing while nobody listens to it."""
    if inputs.open_for_s < _SILENCE_S:
        return []
    missing = []
    image_type = f"sensor_msgs/msg/{inputs.image_type.__name__}"
    if statistics.seconds_without_image > _SILENCE_S:
        missing.append(MissingInput("image", _advice(node, "image", inputs.image_topic, image_type)))
    if not intrinsics.received and settings.assume_fov_deg <= 0.0:
        advice = _advice(node, "camera_info", inputs.camera_info_topic, "sensor_msgs/msg/CameraInfo")
        missing.append(
            MissingInput("camera_info", f"{advice}; or set assume_fov_deg to go on without a calibration")
        )
    if inputs.detections_topic and not inputs.boxes_received:
        advice = _advice(node, "detections", inputs.detections_topic, "trg_ros/msg/FaceBoxArray")
        missing.append(MissingInput("detections", f"{advice}; or set detector to auto"))
    return missing


def _advice(node: Node, name: str, topic: str, message_type: str) -> str:
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        seen = sorted(
            other
            for other, types in node.get_topic_names_and_types()
            if message_type in types
            and not other.startswith(node.get_fully_qualified_name() + "/")
            and other != topic
        )
        candidates = f" (seen now: {', '.join(seen[:5])})" if seen else ""
        return (
            f"no {name}: nobody publishes {topic}; start that node, or remap with "
            f"--ros-args -r {name}:=<topic>{candidates}"
        )
    types = sorted({info.topic_type for info in publishers})
    if message_type not in types:
        carried = ", ".join(types)
        return (
            f"no {name}: {topic} carries {carried}, not {message_type}; remap {name}, or see image_transport"
        )
    text = (
        f"no {name}: {len(publishers)} publisher(s) on {topic}, but nothing arrives; is that node "
        "active, and does its QoS fit (ros2 topic info --verbose)?"
    )
    owners = unreadable_owners()
    if owners:
        text += (
            f" Programs of {', '.join(owners)} share memory that this user can't open: run both as one user, "
            "or this node without shared memory (launch argument large_images:=udp: config/fastdds_udp.xml)"
        )
    return text


class Rates:
    """Counts per second, over the last few looks."""

    def __init__(self, looks: int = 5) -> None:
        self._looks: deque[tuple[float, tuple[int, ...]]] = deque(maxlen=looks + 1)

    def update(self, now_s: float, *counts: int) -> list[float]:
        """For each count its growth per second; 0 at the first look."""
        self._looks.append((now_s, counts))
        then_s, old_counts = self._looks[0]
        if now_s <= then_s:
            return [0.0] * len(counts)
        return [(new - old) / (now_s - then_s) for new, old in zip(counts, old_counts, strict=True)]


def losses(received: float, lost: float, overtaken: float) -> list[str]:
    """What to do about images that never reach the node, where those are many; all three per second."""
    sent, problems = received + lost + overtaken, []
    if lost > _MANY * sent:
        problems.append(
            f"{lost:.1f} of {sent:.1f} images a second are lost on the way: start the camera's node and this "
            "one with shared memory for large images (launch argument large_images:=true: "
            "config/fastdds_large_images.xml), let the camera offer reliable QoS, or send smaller images "
            "(image_transport: compressed)"
        )
    if overtaken > _MANY * sent:
        problems.append(
            f"{overtaken:.1f} of {sent:.1f} images a second are overtaken by newer ones before the node has "
            "its turn: the machine is too busy; lower the camera's rate, or set max_rate or threads so that "
            "the network leaves a core to the node"
        )
    return problems


def slowness(processing_s: float) -> list[str]:
    """What to do about a network that is too slow for people who move; seconds an image."""
    if not processing_s > _SLOW_S:
        return []
    return [
        f"an image takes {processing_s:.2f} s: choose a faster device or backend (trg-headpose benchmark "
        "compares them), fewer max_faces or mirror: false"
    ]


def gpu_memory_mb(device: str) -> float:
    """What this process holds of the GPU's memory; NaN on a CPU."""
    if not device.startswith("cuda"):
        return math.nan
    import torch

    return torch.cuda.memory_reserved(device) / 1e6


def diagnostic_array(
    stamp: Time, name: str, level: bytes, message: str, hardware: str, values: dict[str, object]
) -> DiagnosticArray:
    """One status with its numbers, in the order given."""
    status = DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def timing_array(result: FrameResult, now: RosTime, node: str) -> DiagnosticArray:
    """Where the time of one image went: seconds per step, and its age, with the image's stamp and frame."""
    laps = {f"{name} (s)": f"{seconds:.6f}" for name, seconds in result.stopwatch.laps_s.items()}
    values: dict[str, object] = {**laps, "total (s)": f"{result.stopwatch.total_s:.6f}"}
    image_ns = nanoseconds(result.header)
    if image_ns > 0:
        values["age (s)"] = f"{1e-9 * (now.nanoseconds - image_ns):.6f}"
    values["faces"] = len(result.heads)
    array = diagnostic_array(result.header.stamp, f"{node}: timing", DiagnosticStatus.OK, "", "", values)
    array.header.frame_id = result.header.frame_id
    return array


def judge(missing: list[MissingInput], fault: str, problems: list[str], listening: bool) -> tuple[bytes, str]:
    """(level, message) of an active node.

    :param fault: why the newest image gave nothing, if that is a bug of ours.
    :param problems: what else somebody could mend, the worst first.
    """
    if missing:
        return DiagnosticStatus.WARN, "; ".join(item.fix for item in missing)
    if not listening:
        return DiagnosticStatus.OK, "idle: nobody subscribes to an output"
    if fault:
        return DiagnosticStatus.ERROR, fault
    if problems:
        return DiagnosticStatus.WARN, "; ".join(problems)
    return DiagnosticStatus.OK, "running"


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return str(value)
