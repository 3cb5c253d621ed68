"""Looking for faces with a detector that may fail: known heads are followed all the same."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trg_ros.camera import CameraModel
    from trg_ros.ros.log import ThrottledLog
    from trg_ros.ros.statistics import Statistics
    from trg_ros.tracking.searching import Finding, Searcher

_PAUSE_S = 1.0
"""After a failure the detector is left alone for that long."""

_SILENCE_S = 5.0
"""A search that takes longer is reported: the detector may hang."""


class GuardedSearcher:
    """A `Searcher` around another: what the detector raises is reported, a second later it is tried again."""

    def __init__(
        self,
        searcher: Searcher,
        statistics: Statistics,
        log: ThrottledLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._searcher = searcher
        self._statistics = statistics
        self._log = log
        self._clock = clock
        self._retry_s = -math.inf
        self._asked_s = math.inf

    @property
    def detections(self) -> int:
        """How many images were searched."""
        return self._searcher.detections

    @property
    def available(self) -> bool:
        """False for a moment after a failure."""
        return self._searcher.available and self._clock() >= self._retry_s

    def ask(self, image_bgr: NDArray[np.uint8], camera: CameraModel, stamp_s: float) -> bool:
        """As `Searcher.ask`; False if the detector failed."""
        try:
            asked = self._searcher.ask(image_bgr, camera, stamp_s)
        except Exception as error:  # whatever it is, the heads that are known can be followed without it
            self._failed(error)
            return False
        if asked:
            self._asked_s = min(self._asked_s, self._clock())
        return asked

    def answer(self, wait: bool) -> Finding | None:
        """As `Searcher.answer`; None if the detector failed."""
        try:
            finding = self._searcher.answer(wait)
        except Exception as error:
            self._failed(error)
            return None
        if finding is not None:
            self._asked_s = math.inf
            self._statistics.detector_problem = ""
        elif self._clock() - self._asked_s > _SILENCE_S:
            self._complain(f"the detector hasn't answered for {_SILENCE_S:g} s: does it hang?")
        return finding

    def forget(self) -> None:
        """As `Searcher.forget`."""
        self._searcher.forget()
        self._asked_s = math.inf

    def close(self) -> None:
        """As `Searcher.close`."""
        self._searcher.close()
        self._asked_s = math.inf

    def _failed(self, error: Exception) -> None:
        self._retry_s, self._asked_s = self._clock() + _PAUSE_S, math.inf
        self._statistics.count("detector failures")
        self._complain(f"the detector failed, {type(error).__name__}: {error}", traceback.format_exc())

    def _complain(self, text: str, details: str = "") -> None:
        text += "; known heads are followed, new ones are not found"
        self._statistics.detector_problem = text
        self._log.error("detector", f"{text}\n{details}".rstrip())
