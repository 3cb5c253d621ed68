"""Times that can be compared on a machine that has other work, too.

Everything that is compared runs in turns, a few calls each, so that whatever else the machine does hits all
of them. Beside wall time there is CPU time, which other processes disturb far less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass
class Samples:
    """Milliseconds of single calls, wall and CPU (all threads of the process)."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def extend(self, other: Samples) -> None:
        """Append the times of other calls."""
        self.wall_ms += other.wall_ms
        self.cpu_ms += other.cpu_ms

    def summary(self) -> dict[str, float | int]:
        """Number of calls, and medians and 95th percentiles in milliseconds."""
        return {
            "calls": len(self.wall_ms),
            "wall_median_ms": _rounded(np.median(self.wall_ms)),
            "wall_p95_ms": _rounded(np.percentile(self.wall_ms, 95)),
            "cpu_median_ms": _rounded(np.median(self.cpu_ms)),
            "cpu_p95_ms": _rounded(np.percentile(self.cpu_ms, 95)),
        }


class Contender(Protocol):
    """Something that can be timed, here or in another process."""

    def measure(self, calls: int) -> Samples: ...


class Call:
    """A function of this process."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def measure(self, calls: int) -> Samples:
        samples = Samples()
        for _ in range(calls):
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            self._function()
            samples.cpu_ms.append(1e3 * (time.process_time() - cpu_s))
            samples.wall_ms.append(1e3 * (time.perf_counter() - wall_s))
        return samples


def interleave(contenders: Mapping[str, Contender], rounds: int, calls: int = 5) -> dict[str, Samples]:
    """``rounds`` times ``calls`` calls of each in turns, after one turn that doesn't count."""
    for contender in contenders.values():
        contender.measure(calls)
    samples = {name: Samples() for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            samples[name].extend(contender.measure(calls))
    return samples


def _rounded(value: Any) -> float:
    return round(float(value), 3)
