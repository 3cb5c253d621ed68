"""Users without a home that they can write, and nodes and cameras of different users."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from ros_domain import REPOSITORY
from ros_harness import NodeProcess, Robot
from test_ros_survival import NODE, stand_in_options
from trg_ros.msg import HeadPoseArray

RENDERED = Path(__file__).parent / "data" / "rendered"
NOWHERE = "/proc/nowhere"
"""Nobody can make a folder there, not even root."""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Other users may read it, unlike pytest's own folders."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def take_home_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started from now on can write neither a cache nor log files."""
    monkeypatch.setenv("HOME", NOWHERE)
    for name in ("XDG_CACHE_HOME", "ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.fault("a home folder that can't be written", "poses; no log files, and the log says so")
def test_a_node_without_a_home(
    robot: Robot, start: Callable[..., NodeProcess], stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_home_away(monkeypatch)
    faces = robot.listen("headpose/faces", HeadPoseArray)
    node = start(NODE, **stand_in_options(stand_in))
    assert robot.spin_until(lambda: any(m.heads for m in faces), timeout_s=120.0, sending=True), node.log
    assert "no log files" in node.log and "set ROS_LOG_DIR" in node.log and NOWHERE in node.log
    assert "Traceback" not in node.log


@pytest.mark.usefixtures("packaged", "with_detector")
def test_the_command_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    take_home_away(monkeypatch)
    photo = RENDERED / "frontal.jpg"
    done = subprocess.run(
        [sys.executable, "-m", "trg_ros", "run", photo, "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["heads"]) == 1


@pytest.mark.fault(
    "a camera of another user, whose shared memory the node can't open", "that user and the fix are named"
)
def test_a_camera_of_root_and_a_node_of_nobody(
    robot: Robot,
    start: Callable[..., NodeProcess],
    stand_in: Path,
    public_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to become another user")
    if subprocess.run([*NOBODY, sys.executable, "-c", "import rclpy"], capture_output=True).returncode:
        pytest.skip(f"other users can't run {sys.executable}")
    take_home_away(monkeypatch)
    weights = shutil.copy(stand_in, public_folder)
    robot.listen("headpose/faces", HeadPoseArray)
    diagnostics = robot.listen("/diagnostics", DiagnosticArray)
    node = start(NODE, wrapper=NOBODY, **stand_in_options(Path(weights)))

    def named() -> bool:
        return any("root share memory" in message.status[0].message for message in diagnostics)

    assert robot.spin_until(named, timeout_s=120.0, sending=True), node.log
    assert "large_images:=udp" in node.log
