"""What the tests of the node share: a stand-in network, a robot that listens and talks, processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_domain import REPOSITORY
from sensor_msgs.msg import CameraInfo, Image
from small_network import NUM_LANDMARKS, small_config, small_topology
from std_msgs.msg import Header
from trg_ros.msg import FaceBox, FaceBoxArray

from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo, save_checkpoint
from trg_ros.model.network import TRG
from trg_ros.ros.camera_info import info_from_camera_model
from trg_ros.ros.conversions import image_message

CAMERA = CameraModel.from_fov(60.0, 320, 240)
FRAME = "test_camera"


def save_stand_in(path: Path) -> Path:
    """A network that sees the same disc of a face wherever it looks: fast, and it needs no training."""
    torch.manual_seed(0)
    model = TRG(small_config(), small_topology())
    index = np.arange(NUM_LANDMARKS)
    angle, radius = 2.399963 * index, np.sqrt((index + 0.5) / NUM_LANDMARKS)
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.5 * radius**2], axis=1)
    model.set_initial_state((0.0755 * disc).astype(np.float32))
    for regressor in model.regressors:
        for head in (regressor.landmark_head, regressor.pose_head):
            torch.nn.init.normal_(head.weight, std=1e-4)
            torch.nn.init.zeros_(head.bias)
    info = CheckpointInfo(name="stand-in", license="Apache-2.0")
    save_checkpoint(path, Checkpoint(small_config(), small_topology(), info, model.state_dict()))
    return path


def noise_image(seed: int = 0, camera: CameraModel = CAMERA) -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 255, (camera.height, camera.width, 3), dtype=np.uint8)


BOXES = [(100.0, 60.0, 200.0, 160.0), (220.0, 100.0, 280.0, 160.0)]
"""Two faces, as a detector would report them."""


class Robot(Node):
    """Publishes images, calibration and boxes, and keeps what it hears."""

    def __init__(self, context: rclpy.Context | None = None, namespace: str = "") -> None:
        super().__init__("robot", context=context, namespace=namespace)
        self.heard: dict[str, list[Any]] = {}
        self.image = noise_image()
        self.camera: CameraModel | None = CAMERA
        self.boxes = BOXES
        self.frame_id = FRAME
        self.stamp_ns = 1_000_000_000_000
        self.step_ns = 33_000_000
        self._images = self.create_publisher(Image, "image", 5)
        self._infos = self.create_publisher(CameraInfo, "camera_info", 5)
        self._detections = self.create_publisher(FaceBoxArray, "detections", 5)
        self._subscriptions_of: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self)

    def listen(
        self,
        topic: str,
        message_type: Any,
        best_effort: bool = False,
        callback: Callable[[Any], None] | None = None,
    ) -> list[Any]:
        """Subscribe; what comes is appended to the list returned, or given to `callback`."""
        messages = self.heard.setdefault(topic, [])
        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        qos = QoSProfile(depth=50, reliability=reliability)
        self._subscriptions_of[topic] = self.create_subscription(
            message_type, topic, callback or messages.append, qos
        )
        return messages

    def ignore(self, topic: str) -> None:
        """Unsubscribe."""
        self.destroy_subscription(self._subscriptions_of.pop(topic))

    def header(self) -> Header:
        """Of the next image: time goes on by one step."""
        self.stamp_ns += self.step_ns
        header = Header(frame_id=self.frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(self.stamp_ns, 1_000_000_000)
        return header

    def send(self, header: Header | None = None) -> Header:
        """One image with its calibration and boxes."""
        header = header or self.header()
        self.publish_about(header)
        self._images.publish(image_message(header, self.image))
        return header

    def publish_about(self, header: Header) -> None:
        """What goes with the image of that stamp: its calibration, if there is one, and its boxes."""
        if self.camera is not None:
            info = info_from_camera_model(self.camera, self.camera.width, self.camera.height)
            info.header = header
            self._infos.publish(info)
        boxes = [FaceBox(left=a, top=b, right=c, bottom=d, score=0.9) for a, b, c, d in self.boxes]
        self._detections.publish(FaceBoxArray(header=header, boxes=boxes))

    def replace_camera(self, image_qos: QoSProfile | None, info_qos: QoSProfile | None) -> None:
        """Publish with other QoS from now on; None: not at all."""
        self.destroy_publisher(self._images)
        self.destroy_publisher(self._infos)
        if image_qos is not None:
            self._images = self.create_publisher(Image, "image", image_qos)
        if info_qos is not None:
            self._infos = self.create_publisher(CameraInfo, "camera_info", info_qos)

    def publish_image(self, message: Image, with_boxes: bool = True) -> None:
        """As it is, with an empty list of boxes of its stamp."""
        if with_boxes:
            self._detections.publish(FaceBoxArray(header=message.header))
        self._images.publish(message)

    def publish_info(self, message: CameraInfo) -> None:
        self._infos.publish(message)

    @property
    def image_subscribers(self) -> int:
        return int(self._images.get_subscription_count())

    def call(self, service_type: Any, name: str, request: Any) -> Any:
        """The answer of a service."""
        client = self.create_client(service_type, name)
        assert self.spin_until(client.service_is_ready, timeout_s=60.0), f"no service {name}"
        future = client.call_async(request)
        assert self.spin_until(future.done, timeout_s=90.0), f"no answer from {name}"
        self.destroy_client(client)
        return future.result()

    def change_state(self, node: str, transition: str) -> bool:
        """Ask for a lifecycle transition, as `ros2 lifecycle set` does; whether it succeeded."""
        number = getattr(Transition, f"TRANSITION_{transition.upper()}")
        request = ChangeState.Request(transition=Transition(id=number))
        return bool(self.call(ChangeState, f"{node}/change_state", request).success)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=left)

    def spin_until(
        self, condition: Callable[[], Any], timeout_s: float = 20.0, sending: bool = False
    ) -> bool:
        """Listen until `condition` holds; False if it doesn't in time.

        :param sending: send an image every 30 ms meanwhile.
        """
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                return False
            if sending:
                self.send()
            self.spin(0.03)
        return True


class Recorder:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def warning(self, text: str) -> None:
        self.lines.append(("warning", text))

    def error(self, text: str) -> None:
        self.lines.append(("error", text))


class SpinningThread:
    """Spins a node in a thread of its own, as `main` does in a process of its own."""

    def __init__(self, node: Node, context: rclpy.Context) -> None:
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._calls: list[tuple[Callable[[], Any], threading.Event, list[Any]]] = []
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            self._executor.spin_once(timeout_sec=0.05)
            while self._calls:
                function, done, result = self._calls.pop(0)
                result.append(function())
                done.set()

    def call(self, function: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """Run a function in the executor's thread, between callbacks."""
        done, result = threading.Event(), []  # type: ignore[var-annotated]
        self._calls.append((function, done, result))
        assert done.wait(timeout_s), "the executor's thread is stuck"
        return result[0]

    def stop(self) -> None:
        self._stop = True
        self._thread.join(10.0)


class NodeProcess:
    """A node in a process of its own; its log is kept."""

    def __init__(
        self, module: str, namespace: str = "/", wrapper: Sequence[str] = (), **parameters: Any
    ) -> None:
        """:param wrapper: a command that runs the node's, such as `setpriv` with its options."""
        arguments = ["-r", f"__ns:={namespace}"]
        arguments += [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", module, "--ros-args", *arguments],
            cwd=REPOSITORY,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def memory_mb(self) -> float:
        """Resident memory of its own; what it shares, such as images from other processes, doesn't count."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) / 1e3

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, signal_number: int, timeout_s: float = 30.0) -> int:
        """Send a signal; returns the exit status."""
        self.process.send_signal(signal_number)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """Whatever happened: it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10.0)
        self._log.close()
