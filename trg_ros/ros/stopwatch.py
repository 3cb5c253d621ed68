"""Where the time of one image goes."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stopwatch:
    """Seconds between one `lap` and the next, summed by name."""

    def __init__(self, started_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`started_s`: of the same clock, e.g. when the image arrived; None: now."""
        self.laps_s: dict[str, float] = {}
        self._clock = clock
        self._started_s = self._last_s = clock() if started_s is None else started_s

    def lap(self, name: str) -> None:
        """What was done since the last lap is called `name`."""
        now_s = self._clock()
        self.laps_s[name] = self.laps_s.get(name, 0.0) + now_s - self._last_s
        self._last_s = now_s

    @property
    def total_s(self) -> float:
        """From the start to the last lap."""
        return self._last_s - self._started_s
