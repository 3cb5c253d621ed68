"""Where the time of one image goes; and counters of all, written by several threads, read by diagnostics."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


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


@dataclass
class Statistics:
    """What happened since the node was activated. Durations in seconds."""

    clock: Callable[[], float] = time.monotonic
    window: int = 300
    """Latencies and ages are over that many images."""
    detector_problem: str = ""
    """Why faces are not looked for; empty when the detector works."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counts: dict[str, int] = field(default_factory=dict)
    _processing: deque[float] = field(init=False)
    _ages: deque[float] = field(init=False)
    _image_s: float = -math.inf
    _faces: int = 0
    _problem: str = ""
    _fault: bool = False

    def __post_init__(self) -> None:
        self._processing = deque(maxlen=self.window)
        self._ages = deque(maxlen=self.window)

    def count(self, name: str) -> None:
        """Add one to a counter, e.g. received, processed, repeated, refused, failed, resets."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + 1

    def image_arrived(self) -> None:
        with self._lock:
            self._counts["received"] = self._counts.get("received", 0) + 1
            self._image_s = self.clock()

    def processed(self, duration_s: float, age_s: float | None, faces: int) -> None:
        """One image done: how long it took, how old it was when its results went out (None: no stamp)."""
        with self._lock:
            self._counts["processed"] = self._counts.get("processed", 0) + 1
            self._processing.append(duration_s)
            if age_s is not None:
                self._ages.append(age_s)
            self._faces = faces
            self._problem = ""

    def problem(self, text: str, fault: bool = False) -> None:
        """Remember why an image gave nothing, until the next one that does; `fault`: by our own."""
        with self._lock:
            self._problem, self._fault = text, fault

    @property
    def last_problem(self) -> str:
        """Why the newest image gave nothing; empty if it did."""
        with self._lock:
            return self._problem

    @property
    def last_fault(self) -> str:
        """`last_problem` where it is ours; else empty."""
        with self._lock:
            return self._problem if self._fault else ""

    def get(self, name: str) -> int:
        with self._lock:
            return self._counts.get(name, 0)

    @property
    def faces(self) -> int:
        """Faces in the newest image."""
        with self._lock:
            return self._faces

    @property
    def seconds_without_image(self) -> float:
        """Since the last image; infinite before the first."""
        with self._lock:
            return self.clock() - self._image_s

    def processing_quantile(self, q: float) -> float:
        """Seconds an image takes, quantile q in 0 .. 1; NaN before the first."""
        with self._lock:
            return _quantile(self._processing, q)

    @property
    def age_s(self) -> float:
        """Seconds from the newest image's stamp to its results; NaN without stamps."""
        with self._lock:
            return self._ages[-1] if self._ages else math.nan

    def age_quantile(self, q: float) -> float:
        """Seconds from an image's stamp to its results, quantile q in 0 .. 1; NaN without stamps."""
        with self._lock:
            return _quantile(self._ages, q)


def _quantile(values: deque[float], q: float) -> float:
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)]
