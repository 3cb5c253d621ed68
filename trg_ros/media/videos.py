"""Videos and webcams, frame by frame."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trg_ros.errors import InputError
from trg_ros.media.frames import Frame, Source

_LARGEST_PLAUSIBLE_FPS = 1000.0
_FALLBACK_FPS = 30.0
_LAST_DEVICE = 255
#: Ubuntu 24.04's OpenCV takes a quarter turn for one to the other side (opencv issue 22088).
_TURNS_THE_WRONG_WAY = cv2.__version__.startswith("4.6.")
_SILENT = 0  # of OpenCV's log levels


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
        quarter_turn = self._capture.get(cv2.CAP_PROP_ORIENTATION_META) in (90.0, 270.0)
        while True:
            with quiet_opencv():
                ok, image = self._capture.read()
            if not ok:
                return
            if quarter_turn and _TURNS_THE_WRONG_WAY:
                image = cv2.rotate(image, cv2.ROTATE_180)
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
        if not 0 <= device <= _LAST_DEVICE:
            raise InputError(f"webcam index {device} is none; the first camera is 0")
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


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV's own log off the terminal: our error says it in one line."""
    log = getattr(cv2.utils, "logging", cv2)  # 4.5.4 and 4.6.0, Ubuntu's, keep it elsewhere
    level = log.getLogLevel()
    log.setLogLevel(_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


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
