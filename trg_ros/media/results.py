"""Where the heads of one image after the other go: into a folder, or as lines to whoever reads our output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.media.frames import Frame, Source
from trg_ros.media.recording import (
    OutputFolder,
    OverlayVideo,
    json_line,
    json_lines,
    overlay_name,
    write_image,
)

if TYPE_CHECKING:
    from trg_ros.tracking import TrackedHead


class Results(ABC):
    """Use it as a context manager; what was added counts when `commit` returns."""

    place: str
    """Where the results are, for people."""
    replace_earlier_ones: bool = False
    """Whether `commit` overwrites those of an earlier run."""

    @abstractmethod
    def add(
        self, frame: Frame, camera: CameraModel, heads: Sequence[TrackedHead], record: dict[str, Any]
    ) -> None:
        """:param record: what :func:`trg_ros.media.recording.frame_record` says of the frame."""

    @abstractmethod
    def commit(self) -> None:
        """Nothing more is added."""

    def __enter__(self) -> Results:
        return self

    def __exit__(  # noqa: B027 - lines that are printed hold nothing open
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives back what is open."""


class PrintedLines(Results):
    """JSON lines on the standard output, each as soon as it is known."""

    place = "standard output"

    def add(
        self, frame: Frame, camera: CameraModel, heads: Sequence[TrackedHead], record: dict[str, Any]
    ) -> None:
        print(json_line(record), flush=True)

    def commit(self) -> None:
        """Every line has been written."""


class ResultFolder(Results):
    """`heads.jsonl` and overlays in a folder, complete or not at all."""

    def __init__(self, path: Path, source: Source, given: Path, overlay: bool = True) -> None:
        """
        :param given: the source's own path, which the results may not replace.
        :raises InputError: if no folder can be at this path, or the overlay would replace its source.
        """
        self.place = str(path)
        self._kind = source.kind
        self._photo_overlay = f"overlay{Path(overlay_name(source.name)).suffix}"
        self._overlay = overlay
        self._fps = source.fps or 30.0
        self._files = ExitStack()
        self._output = OutputFolder(path)
        self.replace_earlier_ones = (self._output.path / "heads.jsonl").exists()
        written = {"photo": self._photo_overlay, "folder": "overlay", "video": "overlay.mp4"}
        if source.kind in written and (path / written[source.kind]).resolve() == given.resolve():
            raise InputError(f"--out '{path}' would overwrite '{given}'; give another folder")

    def __enter__(self) -> ResultFolder:
        self._output.__enter__()
        self._video = OverlayVideo(self._output.partial / "overlay.mp4", self._fps)
        self._files.callback(self._video.close)
        self._write_line = self._files.enter_context(json_lines(self._output.partial / "heads.jsonl"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
        self._output.__exit__(kind, error, trace)

    def add(
        self, frame: Frame, camera: CameraModel, heads: Sequence[TrackedHead], record: dict[str, Any]
    ) -> None:
        """:raises InputError: if the disk refuses it, or the size of a video's images changes."""
        self._write_line(record)
        if self._overlay:
            self._draw(frame, camera, heads)

    def commit(self) -> None:
        """Moves the files to their place."""
        self._files.close()
        self._output.commit()

    def _draw(self, frame: Frame, camera: CameraModel, heads: Sequence[TrackedHead]) -> None:
        from trg_ros.visualization import draw_heads

        overlay = draw_heads(frame.image_bgr, heads, camera)
        if self._kind == "photo":
            write_image(self._output.partial / self._photo_overlay, overlay)
        elif self._kind == "folder":
            folder = self._output.partial / "overlay"
            folder.mkdir(exist_ok=True)
            write_image(folder / overlay_name(frame.name), overlay)
        else:
            self._video.add(overlay, frame.stamp_s)
