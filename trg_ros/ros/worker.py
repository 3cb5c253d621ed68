"""The one thread that estimates: takes the newest frame, works, never queues."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from trg_ros.ros.frame import Frame
from trg_ros.ros.mailbox import Mailbox

if TYPE_CHECKING:
    from trg_ros.ros.log import ThrottledLog
    from trg_ros.ros.parameters import Settings
    from trg_ros.ros.statistics import Statistics


_PATIENCE_S = 0.5
"""Without a frame for that long, `idle` is called."""


class Worker:
    """Runs `process(frame, settings)` for the newest frame of a mailbox until stopped; else `idle()`."""

    def __init__(
        self,
        mailbox: Mailbox[Frame],
        process: Callable[[Frame, Settings], None],
        settings: Callable[[], Settings],
        statistics: Statistics,
        log: ThrottledLog,
        idle: Callable[[], None] = lambda: None,
        ros_is_up: Callable[[], bool] = lambda: True,
    ) -> None:
        """`ros_is_up`: False once a signal has ended the context; what fails from then on is no fault."""
        self._mailbox = mailbox
        self._process = process
        self._settings = settings
        self._statistics = statistics
        self._log = log
        self._idle = idle
        self._ros_is_up = ros_is_up
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headpose-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Let it finish the frame at hand; False if that takes longer than `timeout_s` seconds."""
        self._stopping.set()
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            frame = self._mailbox.take(_PATIENCE_S)
            if frame is not None:
                started_s = time.monotonic()
                self._guarded(partial(self._process, frame, self._settings()))
                self._pace(started_s)
            elif not self._mailbox.closed:
                self._guarded(self._idle)

    def _pace(self, started_s: float) -> None:
        """Wait until `max_rate` allows the next frame; it may change meanwhile."""
        while (rate := self._settings().max_rate) > 0.0:
            left_s = started_s + 1.0 / rate - time.monotonic()
            if left_s <= 0.0 or self._stopping.wait(min(left_s, _PATIENCE_S)):
                return

    def _guarded(self, work: Callable[[], None]) -> None:
        """The last resort: whatever goes wrong with one frame, the next one is tried."""
        try:
            work()
        except Exception as error:  # a robot's node must outlive a bug; it is logged in full and counted
            if self._stopping.is_set() or not self._ros_is_up():
                return
            self._statistics.count("failed")
            text = f"an image could not be processed, {type(error).__name__}: {error}; please report this"
            self._statistics.problem(text, fault=True)
            self._log.error("worker", f"{text}:\n{traceback.format_exc()}")
