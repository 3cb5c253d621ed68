"""`trg-headpose run`: head poses of a photo, a folder of photos, a video or a webcam."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trg_ros.camera import CameraModel
from trg_ros.camera_yaml import load_camera_yaml
from trg_ros.errors import InputError
from trg_ros.recording import (
    OutputFolder,
    OverlayVideo,
    frame_record,
    json_lines,
    overlay_name,
    write_image,
)
from trg_ros.sources import Frame, Source, open_source

if TYPE_CHECKING:
    from trg_ros.tracking import HeadTracker, TrackedHead

_PHOTO_DETECTION_SIZE = 640
_VIDEO_DETECTION_SIZE = 320
_MAX_FACES = 64

_DETAILS = """\
Written into the output folder, complete or not at all:
  heads.jsonl     one line per frame; camera frame: x right, y down, z forward; metres and degrees
  overlay.*       the photo, the video (overlay.mp4), or a folder overlay/ of photos, with everything drawn in
The pose is REP 155's: origin at the bridge of the nose, x out of the face, y to the person's left, z up.

Distances need the camera's focal length. Without --fov or --camera it is assumed to be width + height pixels,
as in the paper; every line then says "intrinsics_assumed": true, and distances are only as good as that.

A photo without a face is an error; in a folder or a video such a frame gets a line without heads.
Exit status: 0; 2 for anything wrong with the input; 130 after Ctrl-C. A webcam is ended by Ctrl-C, with 0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `trg-headpose run`."""
    parser.epilog = _DETAILS
    parser.add_argument("input", metavar="INPUT", help="photo, folder of photos, video, or webcam index (0)")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="output folder (default: <INPUT's name>_headpose)"
    )
    intrinsics = parser.add_mutually_exclusive_group()
    intrinsics.add_argument("--fov", metavar="DEG", type=float, help="horizontal field of view in degrees")
    intrinsics.add_argument("--camera", metavar="FILE.yaml", help="calibration in ROS's camera_info format")
    parser.add_argument("--checkpoint", metavar="FILE", help="weights (default: the packaged ones)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--pose-source",
        choices=["trg", "pnp"],
        default="trg",
        help="pnp: from the landmarks (default: trg)",
    )
    parser.add_argument(
        "--detector", default="auto", help="auto, libfacedetection, trg, yunet (default: auto)"
    )
    parser.add_argument("--detector-model", metavar="FILE", help="YuNet's ONNX file")
    parser.add_argument(
        "--detection-size",
        metavar="PX",
        type=int,
        help=f"detect faces on the image reduced to this longer side; larger finds smaller faces "
        f"(default: {_PHOTO_DETECTION_SIZE} for photos, {_VIDEO_DETECTION_SIZE} for videos)",
    )
    parser.add_argument("--max-frames", metavar="N", type=int, help="stop after N frames")
    parser.add_argument("--no-overlay", action="store_true", help="write heads.jsonl only")


def main(args: argparse.Namespace) -> int:
    """Runs the command. Cheap checks come first, the network is loaded last."""
    if args.max_frames is not None and args.max_frames < 1:
        raise InputError(f"--max-frames is {args.max_frames}; it has to be at least 1")
    if args.detection_size is not None and args.detection_size < 32:
        raise InputError(f"--detection-size is {args.detection_size}; it has to be at least 32 pixels")
    intrinsics = Intrinsics(args.fov, args.camera)
    with _terminate_as_exit(), open_source(args.input) as source:
        out = args.out if args.out is not None else Path(f"{_stem(source)}_headpose")
        _check_keeps_input(source, Path(args.input), out)
        with OutputFolder(out) as output:
            run = _Run(source, intrinsics, HeadFinder(args, source), output, overlay=not args.no_overlay)
            try:
                run.process(args.max_frames)
            except (InputError, KeyboardInterrupt) as error:
                # What a webcam has recorded is complete up to here, and can't be recorded again.
                if source.kind != "webcam" or run.frames == 0:
                    raise
                run.finish()
                if isinstance(error, InputError):
                    raise
            else:
                run.finish()
    return 0


def _check_keeps_input(source: Source, given: Path, out: Path) -> None:
    """Results may not take the place of what they are made from."""
    written = {"photo": out / _overlay_file(source), "folder": out / "overlay", "video": out / "overlay.mp4"}
    if source.kind in written and written[source.kind].resolve() == given.resolve():
        raise InputError(f"--out '{out}' would overwrite '{given}'; give another folder")


class Intrinsics:
    """The camera of an image by its size: from a field of view, a calibration, or the paper's convention."""

    def __init__(self, fov_deg: float | None, camera_file: str | None) -> None:
        """:raises CameraError: for a field of view or a file that can't be used."""
        self._calibrated = load_camera_yaml(camera_file) if camera_file is not None else None
        self._camera_file = camera_file
        self._fov_deg = fov_deg
        self.notice = ""
        """What the user has to know about an assumption; empty without one."""
        self._by_size: dict[tuple[int, int], CameraModel] = {}
        if fov_deg is not None:
            CameraModel.from_fov(fov_deg, 2, 2)  # a bad angle is an error before anything is opened

    @property
    def assumed(self) -> bool:
        """Whether nothing is known about the camera."""
        return self._fov_deg is None and self._calibrated is None

    def of(self, frame: Frame) -> CameraModel:
        """:raises InputError: if the calibration is for images of another size."""
        height, width = frame.image_bgr.shape[:2]
        if (width, height) not in self._by_size:
            self._by_size[width, height] = self._camera(width, height, frame.name)
        return self._by_size[width, height]

    def _camera(self, width: int, height: int, name: str) -> CameraModel:
        if self._calibrated is not None:
            calibrated = self._calibrated
            if (calibrated.width, calibrated.height) != (width, height):
                raise InputError(
                    f"'{self._camera_file}' is calibrated for {calibrated.width}x{calibrated.height} pixels "
                    f"but '{name}' has {width}x{height}; calibrate at this size, or give --fov"
                )
            return calibrated
        if self._fov_deg is not None:
            return CameraModel.from_fov(self._fov_deg, width, height)
        focal = float(width + height)
        if not self.notice:
            fov_deg = 2.0 * np.rad2deg(np.arctan(0.5 * width / focal))
            self.notice = (
                f"no --fov or --camera: assumed a focal length of width + height = {focal:g} px "
                f"({fov_deg:.0f} deg across); distances scale with it"
            )
        return CameraModel.pinhole(focal, focal, 0.5 * (width - 1), 0.5 * (height - 1), width, height)


class HeadFinder:
    """Heads of one frame after the other: tracked in a video or webcam, each photo for itself."""

    def __init__(self, args: argparse.Namespace, source: Source) -> None:
        """:raises TrgRosError: for a checkpoint, device or detector that can't be used."""
        from trg_ros.detection import make_detector
        from trg_ros.estimator import HeadPoseEstimator

        self._is_video, self._is_live = source.kind in ("video", "webcam"), source.kind == "webcam"
        default_size = _VIDEO_DETECTION_SIZE if self._is_video else _PHOTO_DETECTION_SIZE
        detector = make_detector(
            args.detector, path=args.detector_model, max_side=args.detection_size or default_size
        )
        self._estimator = HeadPoseEstimator.load(
            args.checkpoint, device=args.device, detector=detector, pose_source=args.pose_source
        )
        self.checkpoint_name = self._estimator.checkpoint.info.name
        self.device = self._estimator.device
        self._tracker = self._new_tracker()

    def heads(self, frame: Frame, camera: CameraModel) -> Sequence[TrackedHead]:
        """The heads in a frame; identities mean something within a video only."""
        tracker = self._tracker if self._is_video else self._new_tracker()
        return tracker.update(frame.image_bgr, camera, frame.stamp_s)

    def _new_tracker(self) -> HeadTracker:
        from trg_ros.searching import BackgroundSearcher
        from trg_ros.tracking import HeadTracker

        searcher = BackgroundSearcher(self._estimator) if self._is_live else None
        return HeadTracker(self._estimator, max_faces=_MAX_FACES, searcher=searcher)


class _Run:
    """The loop over the frames and what it writes."""

    def __init__(
        self,
        source: Source,
        intrinsics: Intrinsics,
        finder: HeadFinder,
        output: OutputFolder,
        overlay: bool,
    ) -> None:
        self.frames = 0
        self.heads = 0
        self._source = source
        self._intrinsics = intrinsics
        self._finder = finder
        self._output = output
        self._overlay = overlay
        self._video = OverlayVideo(output.partial / "overlay.mp4", source.fps or 30.0)
        self._started_s = time.monotonic()

    def process(self, max_frames: int | None) -> None:
        """Estimates and writes every frame; the files are closed when it returns or raises."""
        from tqdm import tqdm

        totals = [number for number in (self._source.length, max_frames) if number is not None]
        with ExitStack() as stack:
            stack.callback(self._video.close)
            write_line = stack.enter_context(json_lines(self._output.partial / "heads.jsonl"))
            progress = stack.enter_context(
                tqdm(
                    total=min(totals, default=None),
                    unit="frame",
                    desc=self._source.name,
                    disable=None,
                    leave=False,
                )
            )
            self._started_s = time.monotonic()
            for frame in self._source:
                self._process_frame(frame, write_line)
                progress.update()
                if self.frames == max_frames:
                    return

    def finish(self) -> None:
        """Moves the files to their place and says what there is.

        Notices come here, not earlier: if anything fails, the one line that says why stands alone.
        """
        seconds = max(time.monotonic() - self._started_s, 1e-9)
        self._output.commit()
        if self._intrinsics.notice:
            _tell(self._intrinsics.notice)
        if self.heads == 0:
            _tell(f"no face in any of the {self.frames} frames of '{self._source.name}'")
        rate = f", {self.frames / seconds:.1f} frames/s" if self.frames > 1 else ""
        print(
            f"{self.frames} frame{'s' * (self.frames != 1)}, {self.heads} head{'s' * (self.heads != 1)}"
            f"{rate} on {self._finder.device} -> {self._output.path}"
        )

    def _process_frame(self, frame: Frame, write_line: Callable[[dict[str, Any]], None]) -> None:
        camera = self._intrinsics.of(frame)
        tracked = self._finder.heads(frame, camera)
        if not tracked and self._source.kind == "photo":
            raise InputError(f"no face found in '{frame.name}'")
        assumed, checkpoint = self._intrinsics.assumed, self._finder.checkpoint_name
        write_line(frame_record(frame, camera, tracked, assumed, checkpoint))
        if self._overlay:
            self._write_overlay(frame, camera, tracked)
        self.frames += 1
        self.heads += len(tracked)

    def _write_overlay(self, frame: Frame, camera: CameraModel, tracked: Sequence[TrackedHead]) -> None:
        from trg_ros.visualization import draw_heads

        overlay = draw_heads(frame.image_bgr, tracked, camera)
        if self._source.kind == "photo":
            write_image(self._output.partial / _overlay_file(self._source), overlay)
        elif self._source.kind == "folder":
            folder = self._output.partial / "overlay"
            folder.mkdir(exist_ok=True)
            write_image(folder / overlay_name(frame.name), overlay)
        else:
            self._video.add(overlay, frame.stamp_s)


def _stem(source: Source) -> str:
    return source.name.replace(" ", "_") if source.kind in ("folder", "webcam") else Path(source.name).stem


def _overlay_file(source: Source) -> str:
    return f"overlay{Path(overlay_name(source.name)).suffix}"


def _tell(message: str) -> None:
    print(f"trg-headpose: {message}", file=sys.stderr)


@contextmanager
def _terminate_as_exit() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, so that nothing half-written remains."""

    def leave(signal_number: int, frame: object) -> None:
        sys.exit(128 + signal_number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
