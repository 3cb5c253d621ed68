"""More faces than the device's memory holds: the same in smaller batches."""

from __future__ import annotations

import logging
import sys

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.protocol import Backend, Crops, NetworkResult, joined
from trg_ros.errors import DeviceError

_LOG = logging.getLogger(__name__)


class BatchLimit:
    """Remembers how many faces at once a back end can take."""

    def __init__(self) -> None:
        self._most: int | None = None

    def infer(self, backend: Backend, crops_rgb: Crops, boxes: NDArray[np.float32]) -> NetworkResult:
        """As :meth:`Backend.infer`, in as many batches as it takes.

        :raises DeviceError: if there is no memory for a single face.
        """
        parts: list[NetworkResult] = []
        done = 0
        while done < len(crops_rgb):
            count = min(len(crops_rgb) - done, self._most or len(crops_rgb))
            part = slice(done, done + count)
            try:
                parts.append(backend.infer(crops_rgb[part], boxes[part]))
            except _memory_errors() as error:
                self._shrink(count, backend.device, error)
            else:
                done += count
        return parts[0] if len(parts) == 1 else joined(parts)

    def _shrink(self, count: int, device: str, error: BaseException) -> None:
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if count == 1:
            raise DeviceError(
                f"{device} has no memory for a single face: end other programs on it, or use device cpu"
            ) from error
        self._most = (count + 1) // 2
        _LOG.warning("%s has no memory for %d faces at once: going on with %d", device, count, self._most)


def _memory_errors() -> tuple[type[BaseException], ...]:
    """torch's error, if a back end has imported torch; asked for only once something went wrong."""
    torch = sys.modules.get("torch")
    return () if torch is None else (torch.OutOfMemoryError,)
