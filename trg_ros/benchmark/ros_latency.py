"""Through ROS: from an image's stamp to its poses in another process, at several rates."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trg_ros.benchmark.scene import Scene
from trg_ros.errors import TrgRosError

_START_PATIENCE_S = 90.0
_SETTLE_S = 2.0


def measure_ros(
    scene: Scene,
    rates_hz: Sequence[float],
    seconds: float,
    node_arguments: Sequence[str],
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Start the node as a process and send it the scene's image, stamped when it is sent.

    :param node_arguments: parameters of the node, ``name:=value``.
    :raises TrgRosError: when the node doesn't answer, with what it said.
    """
    from trg_ros.demo.processes import Child, prepare_environment

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_environment(folder)
        import rclpy

        arguments = ["--ros-args"]
        for argument in node_arguments:
            arguments += ["-p", argument]
        with Child("headpose", "trg_ros.ros.node", arguments, folder) as child:
            rclpy.init()
            try:
                client = _Client(scene)
                try:
                    client.wait_for_poses(child)
                    rows = []
                    for rate_hz in rates_hz:
                        tell(f"ROS at {rate_hz:g} Hz")
                        client.run(rate_hz, _SETTLE_S)
                        rows.append(client.measure(rate_hz, seconds, child.pid))
                    return rows
                finally:
                    client.close()
            finally:
                rclpy.try_shutdown()


class _Client:
    """Publishes images and collects ages of poses, in one thread."""

    def __init__(self, scene: Scene) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image
        from std_msgs.msg import Header

        from trg_ros.msg import HeadPoseArray
        from trg_ros.ros.conversions import image_message

        self._node = Node("trg_ros_benchmark")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._images = self._node.create_publisher(Image, "image", qos_profile_sensor_data)
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._node.create_subscription(HeadPoseArray, "headpose/faces", self._receive, 10)
        camera = scene.camera
        header = Header(frame_id="benchmark_camera")
        self._image = image_message(header, scene.image_bgr)
        self._info = CameraInfo(header=header, width=camera.width, height=camera.height)
        self._info.k = camera.K.flatten().tolist()
        self._info.p = np.hstack([camera.K, np.zeros((3, 1))]).flatten().tolist()
        self._info.distortion_model, self._info.d = "plumb_bob", [0.0] * 5
        self._ages_s: list[float] = []
        self._heads = 0

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()

    def wait_for_poses(self, child: Any) -> None:
        deadline_s = time.monotonic() + _START_PATIENCE_S
        while not self._ages_s:
            if child.exit_status is not None or time.monotonic() > deadline_s:
                raise TrgRosError(f"the node gives no poses; it said: {child.last_lines(3)}")
            self.run(5.0, 0.4)

    def measure(self, rate_hz: float, seconds: float, pid: int) -> dict[str, Any]:
        self._ages_s.clear()
        self._heads = 0
        cpu_s, started_s = _cpu_seconds(pid), time.monotonic()
        sent = self.run(rate_hz, seconds)
        cpu_s, duration_s = _cpu_seconds(pid) - cpu_s, time.monotonic() - started_s
        ages_ms = 1e3 * np.array(self._ages_s or [np.nan])
        p50, p95, p99 = (round(float(np.percentile(ages_ms, q)), 2) for q in (50, 95, 99))
        return {
            "rate_hz": rate_hz,
            "sent": sent,
            "received": len(self._ages_s),
            "dropped": sent - len(self._ages_s),
            "faces_per_image": round(self._heads / max(1, len(self._ages_s)), 2),
            "latency_p50_ms": p50,
            "latency_p95_ms": p95,
            "latency_p99_ms": p99,
            "node_cpu_share_of_one_core": round(cpu_s / duration_s, 3),
        }

    def run(self, rate_hz: float, seconds: float) -> int:
        """Send images for a while, then wait for the last answers; returns how many were sent."""
        begin_s, sent = time.monotonic(), 0
        count = max(1, round(rate_hz * seconds))
        while sent < count:
            due_s = begin_s + sent / rate_hz
            self._spin_until(due_s)
            self._send()
            sent += 1
        self._spin_until(time.monotonic() + 0.5)
        return sent

    def _spin_until(self, moment_s: float) -> None:
        while (left_s := moment_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def _send(self) -> None:
        stamp = self._node.get_clock().now().to_msg()
        self._image.header.stamp = self._info.header.stamp = stamp
        self._infos.publish(self._info)
        self._images.publish(self._image)

    def _receive(self, message: Any) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        stamp = message.header.stamp
        self._ages_s.append(1e-9 * (now_ns - stamp.sec * 1_000_000_000 - stamp.nanosec))
        self._heads += len(message.heads)


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
