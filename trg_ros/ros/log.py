"""Log lines that say a thing once every few seconds, not with every image."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger


class ThrottledLog:
    """Logs per topic of conversation (`key`): at once when new, then at most every `interval_s` seconds."""

    def __init__(
        self, logger: RcutilsLogger, interval_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._said: dict[str, tuple[float, str]] = {}

    def warn(self, key: str, text: str, after_s: float = 0.0) -> None:
        """Log a warning; with `after_s` only once it has been so for that many seconds, not `settled`."""
        if self._due(key, text, after_s):
            self._logger.warning(text)

    def error(self, key: str, text: str) -> None:
        """Log an error."""
        if self._due(key, text, 0.0):
            self._logger.error(text)

    def recent(self, *keys: str) -> list[str]:
        """What was complained of under these keys in the last `interval_s` seconds and isn't settled."""
        now = self._clock()
        with self._lock:
            said = [self._said[key] for key in keys if key in self._said]
        return [text for when, text in said if now - when < self._interval_s]

    def settled(self, key: str) -> None:
        """What `key` complained about is over."""
        with self._lock:
            self._first.pop(key, None)
            self._said.pop(key, None)

    def _due(self, key: str, text: str, after_s: float) -> bool:
        now = self._clock()
        with self._lock:
            if now - self._first.setdefault(key, now) < after_s:
                return False
            self._said[key] = now, text
            if now - self._last.get(key, -self._interval_s) < self._interval_s:
                return False
            self._last[key] = now
            return True
