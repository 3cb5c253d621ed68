"""Where images come from: a photo, a folder of photos, a video or a webcam.

All of them yield one `Frame` at a time and hold no more than one image in memory. Whatever can't be read
raises `InputError` with the file's name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from trg_ros.errors import InputError
from trg_ros.media.frames import Frame, Source
from trg_ros.media.photo import (
    PHOTO_SUFFIXES,
    Photo,
    check_photo_signature,
    checked_path,
    load_photo,
    looks_like_photo,
)
from trg_ros.media.videos import VideoSource, WebcamSource

_VIDEO_DEVICE = re.compile(r"/dev/video(\d+)")
_STREAM = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def open_source(
    spec: str | int | Path, loop: bool = False, on_damaged: Callable[[InputError], None] | None = None
) -> Source:
    """Opens a photo, a folder of photos, a video or a webcam.

    :param spec: a path, or a webcam's index (0, "0"; a file of that name wins) or device (/dev/video0, or a
        link to it).
    :param loop: begin again at the end, for ever. A webcam has no end.
    :param on_damaged: is told of each photo of a folder that can't be read, which is then left out; None:
        that is an error.
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
    path = checked_path(text)
    device = _VIDEO_DEVICE.fullmatch(os.path.realpath(path))
    if device is not None:
        return WebcamSource(int(device[1]))
    try:
        if path.is_dir():
            return FolderSource(path, loop, on_damaged)
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
        photo = load_photo(self._path)
        index = 0
        while True:
            yield Frame(photo.image_bgr, float(index), self.name, index, photo.focal_length_px)
            index += 1
            if not self._loop:
                return


class FolderSource(Source):
    """The photos of a folder in natural order (2.jpg before 10.jpg), without hidden files and subfolders."""

    kind = "folder"

    def __init__(
        self, path: Path, loop: bool = False, on_damaged: Callable[[InputError], None] | None = None
    ) -> None:
        """:raises InputError: for a folder without photos, or (without ``on_damaged``) with a file that only
        pretends to be one."""
        self.name = path.resolve().name
        self._loop = loop
        self._on_damaged = on_damaged
        candidates = (entry for entry in path.iterdir() if not entry.name.startswith("."))
        photos = (entry for entry in candidates if entry.suffix.lower() in PHOTO_SUFFIXES and entry.is_file())
        self._paths = sorted(photos, key=lambda entry: natural_key(entry.name))
        if not self._paths:
            raise InputError(f"no photo in folder '{path}' (looked for {', '.join(sorted(PHOTO_SUFFIXES))})")
        if on_damaged is None:
            for photo in self._paths:
                check_photo_signature(photo)
        self.length = len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            for path in list(self._paths):
                photo = self._load(path)
                if photo is not None:
                    yield Frame(photo.image_bgr, float(index), path.name, index, photo.focal_length_px)
                    index += 1
            if not self._loop or not self._paths:
                return

    def _load(self, path: Path) -> Photo | None:
        """None for a photo that is left out, this time and in the rounds to come."""
        try:
            return load_photo(path)
        except InputError as error:
            if self._on_damaged is None:
                raise
            self._paths.remove(path)
            self._on_damaged(error)
            return None


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key that reads digits as numbers and ignores case: a2 < A10 < b."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name
