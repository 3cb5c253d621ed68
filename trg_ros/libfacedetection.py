"""libfacedetection's C function through ctypes: finding the library, calling it safely.

``facedetect_cnn(result_buffer, bgr, width, height, step)`` fills a buffer of 0x9000 bytes: an int32 count,
then 16 int16 per face: score (0..100), x, y, width, height, five times (x, y), one unused. yuface's own
Python wrapper isn't used: it leaks the buffer, holds the GIL and ignores row padding.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trg_ros.errors import DetectorError

LIBRARY_VARIABLE = "TRG_LIBFACEDETECTION"
_NAME = "libfacedetection.so"
_SYMBOLS = ("facedetect_cnn", "_Z14facedetect_cnnPhS_iii")  # as C, and as C++ as yuface's build exports it
_BUFFER_BYTES = 0x9000
_SHORTS_PER_FACE = 16
_HELP = (
    "get it with `pip install yuface` (Python 3.10 or 3.11 on x86-64), or name one in $"
    + LIBRARY_VARIABLE
    + "; "
    "or use the package's own detector 'trg', or 'yunet' with a YuNet ONNX file, or boxes from elsewhere"
)
_first_call = threading.Lock()  # the library unpacks its weights on the first call, without a lock of its own


class FaceDetectionLibrary:
    """One loaded library with a result buffer of its own; instances may be used from different threads.

    :param path: of the library; None: search.
    :raises DetectorError: if there is none, or it isn't libfacedetection.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path, library = _load([str(path)] if path else list(_candidates()))
        function = next((getattr(library, name) for name in _SYMBOLS if hasattr(library, name)), None)
        if function is None:
            raise DetectorError(
                f"{self.path} has no function facedetect_cnn: it is not libfacedetection; {_HELP}"
            )
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self._function = function
        self._threads = _OpenMPThreads(library)
        self._buffer = np.zeros(_BUFFER_BYTES, np.uint8)
        self._lock = threading.Lock()
        with _first_call:
            self.faces(np.zeros((32, 32, 3), np.uint8))

    def faces(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.int16]:
        """(N, 16) int16, the library's own rows, for an image (H, W, 3) uint8 BGR whose rows may be padded.

        Other Python threads run meanwhile (ctypes releases the GIL).
        """
        if (
            image_bgr.strides[2] != 1
            or image_bgr.strides[1] != 3
            or image_bgr.strides[0] < 3 * image_bgr.shape[1]
        ):
            image_bgr = np.ascontiguousarray(image_bgr)
        height, width = image_bgr.shape[:2]
        with self._lock, self._threads:
            self._function(
                self._buffer.ctypes.data, image_bgr.ctypes.data, width, height, image_bgr.strides[0]
            )
            count = int(self._buffer[:4].view(np.int32)[0])
            count = min(max(count, 0), (_BUFFER_BYTES - 4) // (2 * _SHORTS_PER_FACE))
            rows = self._buffer[4 : 4 + 2 * _SHORTS_PER_FACE * count].view(np.int16)
            return rows.reshape(count, _SHORTS_PER_FACE).copy()


class _OpenMPThreads:
    """Context in which the library's OpenMP uses one thread.

    Its many tiny parallel regions wait for each other by spinning: with two threads on two shared cores 320
    px took 136 ms instead of 9. The number belongs to the calling thread and to the OpenMP copy that the
    library is linked to, so it is set around each call, and what others had set is put back.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._set = getattr(library, "omp_set_num_threads", None)
        self._get = getattr(library, "omp_get_max_threads", None)
        self._before = 1

    def __enter__(self) -> None:
        if self._set and self._get:
            self._before = self._get()
            self._set(1)

    def __exit__(self, *exception: object) -> None:
        if self._set:
            self._set(self._before)


def _load(candidates: list[str]) -> tuple[str, ctypes.CDLL]:
    failures = []
    for candidate in candidates:
        try:
            return candidate, ctypes.CDLL(candidate)
        except OSError as error:
            failures.append(f"{candidate} ({error})")
    raise DetectorError(f"can't load libfacedetection from {', '.join(failures)}: {_HELP}")


def _candidates() -> Iterator[str]:
    """Where the library may be, the most particular place first; only the last one need not exist."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        yield named
        return
    package = importlib.util.find_spec("yuface")
    folders = list(package.submodule_search_locations or []) if package else []
    for folder in [*folders, str(Path(sys.prefix) / "lib")]:
        path = Path(folder) / _NAME
        if path.is_file():
            yield str(path)
    yield _NAME
