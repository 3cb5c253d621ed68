"""What the executables share: start, spin, and end cleanly on whatever signal, in a fraction of a second."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

import rclpy
import rclpy.logging
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from trg_ros.errors import TrgRosError
from trg_ros.ros.shared_memory import sweep

NodeT = TypeVar("NodeT", bound=Node)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Interrupt Python wherever it is, also in the seconds of importing torch; but not while it cleans up.

    Ctrl-C under `ros2 launch` sends SIGINT twice: the terminal does, and launch passes it on.
    """
    for later in _SIGNALS:
        signal.signal(later, signal.SIG_IGN)
    raise KeyboardInterrupt


def unwritable_log_folder() -> str:
    """Why ROS can't write its log files, as it would refuse to start then; empty if it can.

    Users of services and containers often have no home folder, or one that they can't write.
    """
    try:
        given = os.environ.get("ROS_LOG_DIR") or Path(os.environ.get("ROS_HOME") or "~/.ros", "log")
        folder = Path(given).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        return str(error)
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"no right to write in '{folder}'"


def run(
    name: str,
    make_node: Callable[[], NodeT],
    started: Callable[[NodeT], None] = lambda node: None,
    finished: Callable[[NodeT], bool] = lambda node: False,
    args: list[str] | None = None,
) -> int:
    """Spin a node until SIGINT, SIGTERM, a shutdown of the context or until it has `finished`.

    :param name: of the logger that tells why there is no node.
    :param started: called once, before the first callback.
    :returns: the exit status: 0, or 2 if a TrgRosError says that the node can't do its work.
    """
    for number in _SIGNALS:
        signal.signal(number, _interrupt_once)
    args = list(sys.argv if args is None else args)
    no_files = unwritable_log_folder()
    if no_files:
        args += ["--ros-args", "--disable-external-lib-logs"]
    swept, swept_mb = sweep()
    rclpy.init(args=args)
    logger = rclpy.logging.get_logger(name)
    if no_files:
        logger.warning(
            f"no log files, only this output: {no_files}; set ROS_LOG_DIR to a folder that you can write"
        )
    if swept:
        logger.info(f"gave back {swept_mb:.0f} MB of shared memory that {swept} killed participants had left")
    node: NodeT | None = None
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        started(node)
        while rclpy.ok() and not finished(node):
            executor.spin_once()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except TrgRosError as error:
        logger.fatal(str(error))
        return 2
    except Exception:
        if rclpy.ok():
            raise
        # Otherwise the signal came in the middle of a callback, and this is its echo: the context is gone.
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        gc.freeze()  # everything is closed; taking torch's objects apart would last longer than all of this
    return 0
