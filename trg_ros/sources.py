"""Where images come from: a photo, a folder of photos, a video or a webcam.

All of them yield one `Frame` at a time and hold no more than one image in memory. Whatever can't be read
raises `InputError` with the file's name.
"""

from __future__ import annotations

import codecs
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trg_ros.errors import InputError
from trg_ros.photo import PHOTO_SUFFIXES, check_photo_signature, looks_like_photo, read_photo

_LARGEST_PLAUSIBLE_FPS = 1000.0
_FALLBACK_FPS = 30.0
_STREAM = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


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


def open_source(spec: str | int | Path, loop: bool = False) -> Source:
    """Opens a photo, a folder of photos, a video or a webcam.

    :param spec: a path, or a webcam's index (0, "0"; a file of that name wins).
    :param loop: begin again at the end, for ever. A webcam has no end.
    :raises InputError: naming what can't be opened and why.
    """
    if isinstance(spec, bool) or not isinstance(spec, (str, int, Path)):
        raise InputError(f"the source is a {type(spec).__name__}; give a path or a webcam's index")
    if isinstance(spec, int):
        return WebcamSource(spec)
    text = str(spec)
    if not text.strip() or "\0" in text:
        raise InputError("the source is an empty or impossible name; give a path or a webcam's index")
    if _STREAM.match(text):
        raise InputError(f"'{text}' is an address; give a photo, a folder, a video file or a webcam's index")
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            return FolderSource(path, loop)
        if not path.exists():
            if text.isdecimal():
                return WebcamSource(int(text))
            raise InputError(f"no such file or folder: '{path}'")
        if not path.is_file():
            raise InputError(f"'{path}' is neither a file nor a folder")
        if path.stat().st_size == 0:
            raise InputError(f"'{path}' is empty (0 bytes)")
        is_photo = looks_like_photo(path)
    except OSError as error:
        raise InputError(f"can't read '{path}': {error.strerror or error}") from error
    return PhotoSource(path, loop) if is_photo else VideoSource(path, loop)


class PhotoSource(Source):
    """One photo, once or for ever."""

    kind = "photo"
    length = 1

    def __init__(self, path: Path, loop: bool = False) -> None:
        self.name = path.name
        self._path = path
        self._loop = loop
        check_photo_signature(path)

    def __iter__(self) -> Iterator[Frame]:
        image = read_photo(self._path)
        index = 0
        while True:
            yield Frame(image, float(index), self.name, index)
            index += 1
            if not self._loop:
                return


class FolderSource(Source):
    """The photos of a folder in natural order (2.jpg before 10.jpg), without hidden files and subfolders."""

    kind = "folder"

    def __init__(self, path: Path, loop: bool = False) -> None:
        """:raises InputError: for a folder without photos, or with a file that only pretends to be one."""
        self.name = path.resolve().name
        self._loop = loop
        candidates = (entry for entry in path.iterdir() if not entry.name.startswith("."))
        photos = (entry for entry in candidates if entry.suffix.lower() in PHOTO_SUFFIXES and entry.is_file())
        self._paths = sorted(photos, key=lambda entry: natural_key(entry.name))
        if not self._paths:
            raise InputError(f"no photo in folder '{path}' (looked for {', '.join(sorted(PHOTO_SUFFIXES))})")
        for photo in self._paths:
            check_photo_signature(photo)
        self.length = len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            for path in self._paths:
                yield Frame(read_photo(path), float(index), path.name, index)
                index += 1
            if not self._loop:
                return


class VideoSource(Source):
    """A video file; its time stamps are the container's, its orientation flag is applied."""

    kind = "video"

    def __init__(self, path: Path, loop: bool = False) -> None:
        """:raises InputError: if it isn't a video, or one without frames."""
        self.name = path.name
        self._path = path
        self._loop = loop
        _refuse_text(path)
        self._capture = self._open()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0.0 < fps <= _LARGEST_PLAUSIBLE_FPS else _FALLBACK_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.length = int(count) if 0.0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame]:
        index, start_s = 0, 0.0
        while True:
            stamp_s, count = start_s, 0
            for image, since_start_s in self._one_round():
                stamp_s = start_s + since_start_s
                yield Frame(image, stamp_s, self.name, index)
                index, count = index + 1, count + 1
            self._check_complete(count, stamp_s - start_s)
            if not self._loop:
                return
            start_s = stamp_s + self._frame_interval_s
            self._capture.release()
            self._capture = self._open()

    def close(self) -> None:
        self._capture.release()

    @property
    def _frame_interval_s(self) -> float:
        return 1.0 / (self.fps or _FALLBACK_FPS)

    def _open(self) -> cv2.VideoCapture:
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            raise InputError(
                f"'{self._path}' is neither a photo nor a video that can be decoded, or it is damaged"
            )
        return capture

    def _one_round(self) -> Iterator[tuple[npt.NDArray[np.uint8], float]]:
        """Yields (image, seconds since the first frame); stamps never stand still or run backwards."""
        first_s, last_s, count = 0.0, -1.0, 0
        while True:
            with quiet_opencv():
                ok, image = self._capture.read()
            if not ok:
                return
            container_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if count == 0:
                first_s = container_s
            stamp_s = container_s - first_s
            if not np.isfinite(stamp_s) or stamp_s <= last_s:
                stamp_s = 0.0 if count == 0 else last_s + self._frame_interval_s
            last_s, count = stamp_s, count + 1
            yield _as_bgr(image, str(self._path)), stamp_s

    def _check_complete(self, count: int, last_stamp_s: float) -> None:
        """A video that ends before its container says so is broken.

        The announced number is exact in MP4 and AVI but duration x rate in others, where a variable rate
        makes it wrong. So both the number and the time have to fall short.
        """
        if count == 0:
            raise InputError(f"'{self._path}' holds no frame that can be decoded; it is damaged or no video")
        if self.length is None:
            return
        allowance = max(2.0, 0.02 * self.length)
        seen_by_time = last_stamp_s / self._frame_interval_s + 1.0
        if max(count, seen_by_time) < self.length - allowance:
            raise InputError(
                f"'{self._path}' is broken or truncated: it ends after {count} of {self.length} frames"
            )


class WebcamSource(Source):
    """A camera of this machine; stamps are seconds of a monotonic clock since its first frame."""

    kind = "webcam"

    def __init__(self, device: int) -> None:
        """:raises InputError: if there is no such camera, or another program holds it."""
        if device < 0:
            raise InputError(f"webcam index {device} is negative; the first camera is 0")
        self.name = f"webcam {device}"
        with quiet_opencv():
            self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise InputError(
                f"webcam {device} doesn't open: no such camera (see /dev/video*), no permission, or in use"
            )
        # Old frames are of no use: a slow reader is to get the newest.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0.0 < fps <= _LARGEST_PLAUSIBLE_FPS else _FALLBACK_FPS

    def __iter__(self) -> Iterator[Frame]:
        index, first_s = 0, 0.0
        while True:
            with quiet_opencv():
                ok, image = self._capture.read()
            if not ok:
                raise InputError(f"{self.name} delivers no frame after {index}; is it still plugged in?")
            now_s = time.monotonic()
            if index == 0:
                first_s = now_s
            yield Frame(_as_bgr(image, self.name), now_s - first_s, self.name, index)
            index += 1

    def close(self) -> None:
        self._capture.release()


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key that reads digits as numbers and ignores case: a2 < A10 < b."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV's own log off the terminal: our error says it in one line."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _refuse_text(path: Path) -> None:
    """FFmpeg draws a text file as a video of a terminal, and follows the addresses in a playlist."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"can't read '{path}': {error.strerror or error}") from error
    try:
        is_text = "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return
    if is_text:
        raise InputError(f"'{path}' is a text file, neither a photo nor a video")


def _as_bgr(image: Any, name: str) -> npt.NDArray[np.uint8]:
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"'{name}' delivers frames of shape {image.shape} and type {image.dtype}, not BGR")
    return np.asarray(image, np.uint8)
