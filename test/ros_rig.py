"""A node with a stand-in network, active in a thread of the test's process, and a robot that talks to it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from ros_harness import Robot, SpinningThread
from trg_ros.msg import HeadPoseArray

from trg_ros.ros.node import HeadPoseNode

STAND_IN: dict[str, Any] = {"detector": "topic", "threads": 1, "max_faces": 3, "min_score": 0.0}
"""The stand-in network takes everything for a face, so boxes come from us and its doubts don't count."""


class Rig:
    """Node and robot in one namespace; a context manager."""

    def __init__(
        self,
        checkpoint: Path,
        namespace: str = "/shared",
        cli_args: list[str] | None = None,
        **parameters: Any,
    ) -> None:
        """:param cli_args: of the node alone, such as its remappings."""
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        values = {"checkpoint": str(checkpoint), **STAND_IN, **parameters}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = HeadPoseNode(
            context=self.context, namespace=namespace, parameter_overrides=overrides, cli_args=cli_args
        )
        self.node.autostart()
        self.thread = SpinningThread(self.node, self.context)
        self.robot = Robot(self.context, namespace)

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.thread.stop()
        self.node.destroy_node()
        self.robot.destroy_node()
        rclpy.try_shutdown(context=self.context)

    @property
    def passes(self) -> int:
        """How often the network ran."""
        assert self.node.estimator is not None
        return self.node.estimator.forward_passes

    def faces(self, heads: int = 1) -> list[HeadPoseArray]:
        """What is heard on ~/faces from now on; images are sent until so many heads are in one."""
        faces = self.robot.listen("headpose/faces", HeadPoseArray)
        assert self.robot.spin_until(lambda: faces and len(faces[-1].heads) >= heads, sending=True)
        return faces

    def count(self, name: str) -> int:
        """A counter of the node's statistics."""
        assert self.node._running is not None
        return self.node._running.statistics.get(name)

    def set(self, **values: Any) -> list[str]:
        """Set parameters as a service call does; returns the reasons of those refused."""
        changes = [Parameter(name, value=value) for name, value in values.items()]
        results = self.thread.call(lambda: self.node.set_parameters(changes))
        return [result.reason for result in results if not result.successful]

    def idle(self) -> bool:
        """Nobody listens, and the node has noticed."""
        return self.robot.spin_until(lambda: self.robot.image_subscribers == 0)

    def diagnostics_say(self, text: str, level: bytes | None = None) -> bool:
        """Whether that stands in the node's status soon, while images come."""
        messages = self.robot.listen("/diagnostics", DiagnosticArray)
        messages.clear()
        name = self.node.get_fully_qualified_name()

        def said(status: DiagnosticStatus) -> bool:
            return status.name == name and text in status.message and level in (None, status.level)

        return self.robot.spin_until(
            lambda: any(said(message.status[0]) for message in messages), sending=True
        )
