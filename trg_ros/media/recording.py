"""Files that appear complete or not at all: a folder of results, an overlay video, JSON lines."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.media.frames import Frame
from trg_ros.media.photo import checked_path
from trg_ros.media.videos import quiet_opencv

if TYPE_CHECKING:
    from trg_ros.tracking import TrackedHead

ImageArray = npt.NDArray[np.uint8]

_WRITABLE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class OutputFolder:
    """A folder that is filled in a hidden place beside its own, and moved there by `commit`.

    Without `commit` nothing remains. In a folder that exists already, files of the same name are replaced and
    others stay.
    """

    def __init__(self, path: Path) -> None:
        """:raises InputError: if no folder can be at this path."""
        self.path = checked_path(path)
        folders = (self.path, *self.path.absolute().parents)
        self._ancestor = next(folder for folder in folders if folder.exists())
        checked_path(self._ancestor)
        if not self._ancestor.is_dir():
            raise InputError(f"the output '{self.path}' can't be a folder: '{self._ancestor}' is a file")
        if not os.access(self._ancestor, os.W_OK | os.X_OK):
            raise InputError(f"can't write into '{self._ancestor}' (no permission); give another --out")
        self._hidden: Path | None = None

    def __enter__(self) -> OutputFolder:
        with writing_to(self.path):
            self._hidden = Path(tempfile.mkdtemp(prefix=".trg-headpose-", dir=self._ancestor))
            # mkdtemp's folder is private to the user; the one that will be moved has the usual permissions.
            self.partial.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hidden is not None:
            shutil.rmtree(self._hidden, ignore_errors=True)
            self._hidden = None

    @property
    def partial(self) -> Path:
        """Where to write until `commit`."""
        if self._hidden is None:
            raise RuntimeError("an OutputFolder is used outside its `with` block")
        return self._hidden / "partial"

    def commit(self) -> None:
        """Moves everything to its place.

        :raises InputError: if the place is refused now.
        """
        with writing_to(self.path):
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.partial.replace(self.path)
                return
            for file in sorted(entry for entry in self.partial.rglob("*") if entry.is_file()):
                target = self.path / file.relative_to(self.partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


class OverlayVideo:
    """An MP4 (MPEG-4 part 2) of constant rate; frames repeat or are left out to keep pace with the stamps."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0
        self._previous: ImageArray | None = None

    def add(self, image_bgr: ImageArray, stamp_s: float) -> None:
        """:raises InputError: if the file can't be written, or the image has another size than the first."""
        height, width = image_bgr.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            self._writer = self._open(width + width % 2, height + height % 2)
        if (width, height) != self._size:
            was = f"{self._size[0]}x{self._size[1]}"
            raise InputError(f"the image size changes from {was} to {width}x{height} in mid-video")
        even = _with_even_sides(image_bgr)
        due = round(stamp_s * self._fps) + 1
        if due <= self._frames:
            return
        previous = even if self._previous is None else self._previous
        for _ in range(due - self._frames - 1):
            self._writer.write(previous)
        self._writer.write(even)
        self._frames, self._previous = due, even

    def close(self) -> None:
        """Finishes the file; a second call does nothing."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        with quiet_opencv():
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, codec, self._fps, (width, height))
        if not writer.isOpened():
            raise InputError(f"can't write an MP4 video of {width}x{height} pixels at {self._fps:g} frames/s")
        return writer


def frame_record(
    frame: Frame,
    camera: CameraModel,
    tracked: Sequence[TrackedHead],
    intrinsics_from: str,
    checkpoint: str,
) -> dict[str, Any]:
    """What is known of one frame, for JSON; the heads as in :meth:`trg_ros.heads.HeadPose.to_dict`.

    :param intrinsics_from: see :meth:`trg_ros.media.intrinsics.Intrinsics.origin`.
    """
    return {
        "name": frame.name,
        "index": frame.index,
        "stamp_s": round(frame.stamp_s, 6),
        "image_size": [camera.width, camera.height],
        "intrinsics": {
            "fx": camera.fx,
            "fy": camera.fy,
            "cx": camera.cx,
            "cy": camera.cy,
            "distortion_model": camera.distortion_model,
            "distortion": camera.distortion.tolist(),
        },
        "intrinsics_from": intrinsics_from,
        "intrinsics_assumed": intrinsics_from == "assumed",
        "checkpoint": checkpoint,
        "heads": [{"id": item.id, **item.head.to_dict()} for item in tracked],
    }


def _with_even_sides(image: ImageArray) -> ImageArray:
    """The encoder wants it so."""
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return np.asarray(padded, np.uint8)


def write_image(path: Path, image_bgr: ImageArray) -> None:
    """:raises InputError: if the format or the disk refuses it."""
    with writing_to(path):
        try:
            ok = cv2.imwrite(str(path), image_bgr)
        except cv2.error as error:
            raise InputError(f"can't write '{path}': {error.err}") from error
        if not ok:
            raise InputError(f"can't write '{path}': is the disk full?")


def overlay_name(photo_name: str) -> str:
    """The photo's own name where OpenCV can write its format, else with .png behind it."""
    return photo_name if Path(photo_name).suffix.lower() in _WRITABLE_SUFFIXES else f"{photo_name}.png"


def json_line(value: Mapping[str, Any]) -> str:
    """An object as JSON; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_without_nan(value), separators=(",", ":"))


@contextmanager
def json_lines(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Gives a function that appends an object as a line."""
    with writing_to(path):
        # Line by line, so that a full disk is noticed at the line and not when the file is closed.
        file = path.open("w", encoding="utf-8", buffering=1)

    def append(value: Mapping[str, Any]) -> None:
        with writing_to(path):
            file.write(f"{json_line(value)}\n")

    with file:
        yield append


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into an InputError that names the path."""
    try:
        yield
    except OSError as error:
        raise InputError(f"can't write '{path}': {error.strerror or error}") from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value
