"""How the executables start, and what ends them: signals do, bugs in a callback don't."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from ros_domain import REPOSITORY


def run_node(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process that runs a node whose timer, every 10 ms, does `body`; it has `self.calls`."""
    script = f"""
import sys
from rclpy.node import Node
from trg_ros.errors import InputError
from trg_ros.ros.runner import run

class Busy(Node):
    def __init__(self):
        super().__init__("busy")
        self.calls = 0
        self.create_timer(0.01, self.work)

    def work(self):
        self.calls += 1
{textwrap.indent(textwrap.dedent(body).strip(), 8 * " ")}

sys.exit(run("busy", Busy, finished=lambda node: node.calls > 3))
"""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.fault(
    "a callback of the executor raises: a bug, or a wrong lifecycle transition in Humble and Jazzy",
    "logged in full; the node lives",
)
def test_a_callback_that_raises_does_not_end_the_node() -> None:
    result = run_node("raise ZeroDivisionError('by zero')")
    assert result.returncode == 0
    assert result.stderr.count("ZeroDivisionError: by zero") == 1, "once in five seconds"
    assert "the node goes on" in result.stderr


def test_what_makes_the_work_impossible_ends_the_node_and_is_told_in_a_line() -> None:
    result = run_node("raise InputError('the camera was unplugged')")
    assert result.returncode == 2
    assert "the camera was unplugged" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [("-p", "rate:=[1"), ("--params-file", "/nowhere.yaml"), ("--no-such-option",)]
)
def test_arguments_that_ros_cannot_read_are_told_in_a_line(arguments: tuple[str, ...]) -> None:
    result = run_node("pass", "--ros-args", *arguments)
    assert result.returncode == 2
    assert arguments[-1] in result.stderr and "--ros-args" in result.stderr
    assert "Traceback" not in result.stderr
