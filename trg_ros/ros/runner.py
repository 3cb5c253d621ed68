"""What the executables share: start, spin, and end cleanly on whatever signal, in a fraction of a second."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

import rclpy
import rclpy.logging
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from trg_ros.errors import InputError, TrgRosError
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.shared_memory import sweep

NodeT = TypeVar("NodeT", bound=Node)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PAUSE_S = 0.1
"""After a callback that failed: one that fails again and again must not take a whole core."""


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
    node: NodeT | None = None
    try:
        _start_ros(name, list(sys.argv if args is None else args))
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        started(node)
        _spin(node, executor, finished)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except TrgRosError as error:
        rclpy.logging.get_logger(name).fatal(str(error))
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


def _start_ros(name: str, args: list[str]) -> None:
    """rclpy.init, also where no log can be written; and room in shared memory.

    :raises InputError: for arguments that ROS can't read.
    """
    no_files = unwritable_log_folder()
    if no_files:
        args += ["--ros-args", "--disable-external-lib-logs"]
    swept, swept_mb = sweep()
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # arguments or a parameter file that rcl can't read
        raise InputError(f"ROS can't start: {error}; check the arguments after --ros-args") from error
    logger = rclpy.logging.get_logger(name)
    if no_files:
        logger.warning(
            f"no log files, only this output: {no_files}; set ROS_LOG_DIR to a folder that you can write"
        )
    if swept:
        logger.info(f"gave back {swept_mb:.0f} MB of shared memory that {swept} killed participants had left")


def _spin(node: NodeT, executor: SingleThreadedExecutor, finished: Callable[[NodeT], bool]) -> None:
    """Until `finished`, or the context is gone; a robot's node outlives a bug in a callback, ours or rclpy's.

    (In Humble and Jazzy, rclpy raises when somebody asks for a lifecycle transition that the state hasn't.)
    """
    log = ThrottledLog(node.get_logger())
    while rclpy.ok() and not finished(node):
        try:
            executor.spin_once()
        except (ExternalShutdownException, TrgRosError):
            raise
        except Exception:
            if not rclpy.ok():
                return
            log.error("callback", f"a callback failed, the node goes on:\n{traceback.format_exc()}")
            time.sleep(_PAUSE_S)
