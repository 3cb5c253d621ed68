"""Photo files to 8-bit BGR: 16-bit, grey, transparent, turned by EXIF; damaged ones are refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from trg_ros.errors import InputError
from trg_ros.media.exif import focal_length_px
from trg_ros.media.file_headers import JPEG_SIGNATURE, is_truncated
from trg_ros.paths import user_path

PHOTO_SUFFIXES = frozenset(
    {
        ".avif",
        ".bmp",
        ".heic",  # what telephones write; to be told that it can't be read is better than to be left out
        ".heif",
        ".jfif",  # what browsers on Windows call a JPEG
        ".jpe",
        ".jpeg",
        ".jp2",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)


def looks_like_photo(path: Path) -> bool:
    """Whether a file is a photo by its content or at least by its name; GIF goes to the video reader."""
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return True
    return path.suffix.lower() != ".gif" and bool(cv2.haveImageReader(str(path)))


def checked_path(path: str | Path) -> Path:
    """The path with ``~`` for the home folder written out.

    :raises InputError: for the home of a user who isn't there, or a name that isn't UTF-8: OpenCV ends the
        whole process over it.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name {str(path)!a} is not UTF-8; give the file another one") from error
    return user_path(path)


def check_photo_signature(path: Path) -> None:
    """Looks at the file's first bytes only.

    :raises InputError: if they are not those of an image that can be decoded.
    """
    checked_path(path)
    try:
        if path.stat().st_size == 0:
            raise InputError(f"'{path}' is empty (0 bytes)")
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"can't read '{path}': {error.strerror or error}") from error
    if not cv2.haveImageReader(str(path)):
        raise InputError(f"'{path}' is not an image that can be decoded ({_cause(path)})")


@dataclass(frozen=True)
class Photo:
    """A photo as a viewer shows it: EXIF orientation applied, transparency dropped."""

    image_bgr: npt.NDArray[np.uint8]
    """(H, W, 3) uint8 BGR."""
    focal_length_px: float | None
    """What its EXIF data say, in pixels; None: nothing. See :func:`trg_ros.media.exif.focal_length_px`."""


def load_photo(path: str | Path) -> Photo:
    """Reads a photo file.

    16-bit images lose the power of two that makes their largest value fit 8 bits: cameras store 10,
    12 or 14 bits in 16. Of an animated WebP or PNG it is the first picture.

    :raises InputError: for a file that can't be read, isn't an image, or is damaged or truncated.
    """
    path = checked_path(path)
    check_photo_signature(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"can't read '{path}': {error.strerror or error}") from error
    if is_truncated(data):  # decoders fill the missing part with grey and say nothing
        raise InputError(f"'{path}' is truncated: the end of the image is missing")
    image = _decoded(data, path)
    height, width = image.shape[:2]
    return Photo(image, focal_length_px(data, width, height) if data.startswith(JPEG_SIGNATURE) else None)


def read_photo(path: str | Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR; see :func:`load_photo`."""
    return load_photo(path).image_bgr


def _decoded(data: bytes, path: Path) -> npt.NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise InputError(f"'{path}' can't be decoded: {error.err}") from error
    if image is None:
        raise InputError(f"'{path}' can't be decoded ({_cause(path)})")
    if image.dtype == np.uint16:
        shift = max(0, int(image.max()).bit_length() - 8)
        image = np.right_shift(image, shift)
    elif image.dtype != np.uint8:
        raise InputError(f"'{path}' has {image.dtype} pixels; convert it to 8 or 16 bits per channel")
    return np.ascontiguousarray(image, np.uint8)


def _cause(path: Path) -> str:
    is_heic = path.suffix.lower() in (".heic", ".heif")
    return "HEIC: convert it to JPEG" if is_heic else "unknown or damaged format"
