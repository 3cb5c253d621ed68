"""Child processes that never outlive the demo, and the environment they share."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
# Opened here because a freshly forked child should do as little as possible.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PATIENCE_S = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0))
"""What follows when SIGINT, and then SIGTERM, was not enough for so many seconds."""


def share_folder() -> Path:
    """Where config/ and msg/ are: the checkout, or share/trg_ros of an installation.

    :raises FileNotFoundError: if there is neither.
    """
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    candidates = [
        Path(__file__).parents[2],
        *(Path(prefix) / "share" / "trg_ros" for prefix in prefixes if prefix),
    ]
    for candidate in candidates:
        if (candidate / "msg" / "HeadPoseArray.msg").is_file():
            return candidate
    raise FileNotFoundError("trg_ros/msg/HeadPoseArray.msg; is trg_ros installed completely?")


def prepare_environment(log_folder: Path) -> None:
    """Sets what has to be set before rclpy starts, here and in the children; what the user has set stays.

    Discovery stays on this machine, in a domain of its own: the demo meets no robot and no other demo.
    """
    # Fast DDS 3 renamed it and warns about the old name.
    fast_dds = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else "FASTDDS"
    defaults = {
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(log_folder / "ros"),
        f"{fast_dds}_DEFAULT_PROFILES_FILE": str(share_folder() / "config" / "fastdds_large_images.xml"),
        # Large images come and go: without these, every one of them is mapped and unmapped anew.
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
        "MALLOC_TOP_PAD_": str(1 << 26),
        # Idle OpenMP threads that spin slow down everything else on a small machine.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


class Child:
    """A Python module as a process in a group of its own, its output in a log file. A context manager."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], log_folder: Path) -> None:
        self.name = name
        self._was_asked = False
        self.log = log_folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Asks it to end, without waiting; once only, for a second Ctrl-C would disturb its clean-up."""
        if not self._was_asked and self._process.poll() is None:
            self._was_asked = True
            self._signal_group(signal.SIGINT)

    def stop(self) -> int:
        """Ends the whole group, politely first; returns the exit status."""
        self.interrupt()
        for next_signal, patience_s in _PATIENCE_S:
            try:
                self._process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                self._signal_group(next_signal)
        # Whatever the process itself may have started.
        self._signal_group(signal.SIGKILL)
        return self._process.wait()

    def last_lines(self, count: int = 12) -> str:
        """The end of what it said."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-count:])

    def has_complained(self) -> bool:
        """Whether it logged an error: a node may stay alive without being able to work."""
        said = self.log.read_text(encoding="utf-8", errors="replace")
        return "[ERROR]" in said or "[FATAL]" in said

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _die_with_parent() -> None:
    """Asks Linux to end this child if the demo itself is killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
