"""One image after the other, whatever they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Frame:
    """One image and where it came from."""

    image_bgr: npt.NDArray[np.uint8]
    """(H, W, 3) uint8 BGR."""
    stamp_s: float
    """Seconds since the first frame: the container's time stamps for a video, the arrival for a webcam,
    the index for photos, which have no time of their own. Grows over the rounds of a loop."""
    name: str
    """File name, or the webcam's."""
    index: int
    """Counts from 0 without end, over the rounds of a loop too."""
    focal_length_px: float | None = None
    """What a photo's EXIF data say, in pixels of this image; None: nothing."""


class Source(ABC):
    """Iterate over it once for the frames; use it as a context manager, or call `close`."""

    kind: str
    """"photo", "folder", "video" or "webcam"."""
    name: str
    length: int | None = None
    """Number of frames of one round, as far as it is known; a video's container may be wrong about it."""
    fps: float | None = None
    """Nominal frames a second; None for photos."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yields frames; raises InputError when one can't be read."""

    def close(self) -> None:  # noqa: B027 - photos hold nothing open
        """Gives the file or the device back; a second call does nothing."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
