"""What the executables share: start, spin, and end cleanly on whatever signal, in a fraction of a second."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import rclpy
import rclpy.logging
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from trg_ros.errors import TrgRosError

NodeT = TypeVar("NodeT", bound=Node)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Interrupt Python wherever it is, also in the seconds of importing torch; but not while it cleans up.

    Ctrl-C under `ros2 launch` sends SIGINT twice: the terminal does, and launch passes it on.
    """
    for later in _SIGNALS:
        signal.signal(later, signal.SIG_IGN)
    raise KeyboardInterrupt


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
    rclpy.init(args=args)
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
