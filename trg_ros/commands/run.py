"""`trg-headpose run`: head poses of a photo, a folder of photos, a video or a webcam."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from trg_ros.arguments import at_least
from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.media.frames import Frame, Source
from trg_ros.media.intrinsics import Intrinsics
from trg_ros.media.recording import frame_record
from trg_ros.media.results import PrintedLines, ResultFolder, Results
from trg_ros.media.sources import open_source

if TYPE_CHECKING:
    from trg_ros.tracking import HeadTracker, TrackedHead

_PHOTO_DETECTION_SIZE = 640
_VIDEO_DETECTION_SIZE = 320
_MAX_FACES = 64
_INCOMPLETE = 1

_DETAILS = """\
Written into the output folder, once all is done:
  heads.jsonl     one line per frame; camera frame: x right, y down, z forward; metres and degrees
  overlay.*       the photo, the video (overlay.mp4), or a folder overlay/ of photos, with everything drawn in
The pose is REP 155's: origin at the bridge of the nose, x out of the face, y to the person's left, z up.

Distances need the camera's focal length. Without --fov or --camera a photo's EXIF data say it, if it is as
the phone or camera made it. Else it is assumed to be width + height pixels, as in the paper, and distances
are only as good as that. Every line tells in "intrinsics_from": calibration, fov, exif or assumed.

Of an animated WebP or PNG the first picture counts; a GIF is a video.
A photo without a face is an error; in a folder or a video such a frame gets a line without heads. Photos of a
folder that can't be used are left out and named at the end.
Exit status: 0; 1 if photos of a folder were left out; 2 for anything wrong with the input, and then nothing
is written; 130 after Ctrl-C, and what was done until then is kept, unless results of an earlier run are
there. A webcam is ended by Ctrl-C, with 0.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `trg-headpose run`."""
    parser.epilog = _DETAILS
    parser.add_argument(
        "input", metavar="INPUT", help="photo, folder of photos, video, or webcam (0, /dev/video0)"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--out", metavar="DIR", type=Path, help="output folder (default: <INPUT's name>_headpose)"
    )
    output.add_argument(
        "--json", action="store_true", help="print heads.jsonl's lines as they come, and write no files"
    )
    intrinsics = parser.add_mutually_exclusive_group()
    intrinsics.add_argument("--fov", metavar="DEG", type=float, help="horizontal field of view in degrees")
    intrinsics.add_argument("--camera", metavar="FILE.yaml", help="calibration in ROS's camera_info format")
    _add_network_arguments(parser)
    parser.add_argument("--max-frames", metavar="N", type=at_least(1), help="stop after N frames")
    parser.add_argument("--no-overlay", action="store_true", help="write heads.jsonl only")


def _add_network_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="FILE", help="weights (default: the packaged ones)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="what runs it: auto, torch, openvino, openvino-int8, openvino-bf16 or cuda (default: auto)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=at_least(1),
        help="CPU threads of the network (default: the back end's choice)",
    )
    parser.add_argument(
        "--pose-source",
        choices=["trg", "pnp"],
        default="trg",
        help="pnp: from the landmarks (default: trg)",
    )
    parser.add_argument(
        "--detector", default="auto", help="auto, libfacedetection, trg, yunet (default: auto)"
    )
    parser.add_argument(
        "--detector-model",
        metavar="FILE",
        help="yunet: its ONNX file; libfacedetection: the library; trg: its weights",
    )
    parser.add_argument(
        "--detection-size",
        metavar="PX",
        type=at_least(32),
        help=f"detect faces on the image reduced to this longer side; larger finds smaller faces "
        f"(default: {_PHOTO_DETECTION_SIZE} for photos, {_VIDEO_DETECTION_SIZE} for videos)",
    )


def main(args: argparse.Namespace) -> int:
    """Runs the command. Cheap checks come first, the network is loaded last."""
    intrinsics = Intrinsics(args.fov, args.camera)
    left_out: list[InputError] = []
    with (
        _terminate_as_exit(),
        open_source(args.input, on_damaged=left_out.append) as source,
        _results(args, source) as results,
    ):
        run = _Run(source, intrinsics, HeadFinder(args, source), results, left_out)
        try:
            run.process(args.max_frames)
        except (InputError, KeyboardInterrupt) as error:
            if run.frames == 0 or not _is_kept(error, source, results):
                raise
            run.finish()
            if source.kind != "webcam" or isinstance(error, InputError):
                raise
        else:
            run.finish()
    return _INCOMPLETE if left_out else 0


def _is_kept(end: InputError | KeyboardInterrupt, source: Source, results: Results) -> bool:
    """Whether what was done until an early end is kept. A webcam's recording can't be made again; half of a
    video may not take the place of an earlier run's results."""
    return source.kind == "webcam" or (
        isinstance(end, KeyboardInterrupt) and not results.replace_earlier_ones
    )


def _results(args: argparse.Namespace, source: Source) -> Results:
    if args.json:
        return PrintedLines()
    out = args.out if args.out is not None else Path(f"{_stem(source)}_headpose")
    return ResultFolder(out, source, Path(args.input), overlay=not args.no_overlay)


class HeadFinder:
    """Heads of one frame after the other: tracked in a video or webcam, each photo for itself."""

    def __init__(self, args: argparse.Namespace, source: Source) -> None:
        """:raises TrgRosError: for a checkpoint, device or detector that can't be used."""
        from trg_ros.detection import make_detector
        from trg_ros.estimator import HeadPoseEstimator

        self._is_video, self._is_live = source.kind in ("video", "webcam"), source.kind == "webcam"
        default_size = _VIDEO_DETECTION_SIZE if self._is_video else _PHOTO_DETECTION_SIZE
        file = {"library" if args.detector == "libfacedetection" else "path": args.detector_model}
        detector = make_detector(args.detector, **file, max_side=args.detection_size or default_size)
        self._estimator = HeadPoseEstimator.load(
            args.checkpoint,
            device=args.device,
            backend=args.backend,
            detector=detector,
            threads=args.threads,
            pose_source=args.pose_source,
        )
        self.checkpoint_name = self._estimator.checkpoint.info.name
        self.device = self._estimator.device
        self._tracker = self._new_tracker()

    def heads(self, frame: Frame, camera: CameraModel) -> Sequence[TrackedHead]:
        """The heads in a frame; identities mean something within a video only."""
        tracker = self._tracker if self._is_video else self._new_tracker()
        return tracker.update(frame.image_bgr, camera, frame.stamp_s)

    def _new_tracker(self) -> HeadTracker:
        from trg_ros.tracking import HeadTracker
        from trg_ros.tracking.searching import BackgroundSearcher

        searcher = BackgroundSearcher(self._estimator) if self._is_live else None
        # Photos are looked at as thoroughly as by HeadPoseEstimator.estimate; videos go on to be looked at.
        mirror = not self._is_video
        return HeadTracker(self._estimator, max_faces=_MAX_FACES, searcher=searcher, mirror=mirror)


class _Run:
    """The loop over the frames."""

    def __init__(
        self,
        source: Source,
        intrinsics: Intrinsics,
        finder: HeadFinder,
        results: Results,
        left_out: list[InputError],
    ) -> None:
        """:param left_out: why photos of a folder were left out; it grows."""
        self.frames = 0
        self.heads = 0
        self._source = source
        self._intrinsics = intrinsics
        self._finder = finder
        self._results = results
        self._left_out = left_out
        self._started_s = time.monotonic()

    def process(self, max_frames: int | None) -> None:
        """Estimates and writes every frame. :raises InputError: also if all photos were left out."""
        from tqdm import tqdm

        total = min((n for n in (self._source.length, max_frames) if n is not None), default=None)
        with tqdm(
            total=total, unit="frame", desc=self._source.name, disable=None, leave=False, file=sys.stderr
        ) as progress:
            self._started_s = time.monotonic()
            for frame in self._source:
                self._process_frame(frame)
                progress.update()
                if self.frames == max_frames:
                    break
        if self._left_out and not self.frames:
            raise self._left_out[0]

    def finish(self) -> None:
        """Completes the results and says what there is.

        Notices come here, not earlier: if anything fails, the one line that says why stands alone.
        """
        seconds = max(time.monotonic() - self._started_s, 1e-9)
        self._results.commit()
        for notice in (*self._intrinsics.notices, *(f"left out: {error}" for error in self._left_out)):
            _tell(notice)
        if self.heads == 0:
            _tell(f"no face in any of the {self.frames} frames of '{self._source.name}'")
        rate = f", {self.frames / seconds:.1f} frames/s" if self.frames > 1 else ""
        print(
            f"{self.frames} frame{'s' * (self.frames != 1)}, {self.heads} head{'s' * (self.heads != 1)}"
            f"{rate} on {self._finder.device} -> {self._results.place}",
            file=sys.stderr if isinstance(self._results, PrintedLines) else sys.stdout,
        )

    def _process_frame(self, frame: Frame) -> None:
        try:
            camera = self._intrinsics.of(frame)
        except InputError as error:
            if self._source.kind != "folder":
                raise
            self._left_out.append(error)
            return
        heads = self._finder.heads(frame, camera)
        if not heads and self._source.kind == "photo":
            raise InputError(f"no face found in '{frame.name}'")
        origin, checkpoint = self._intrinsics.origin(frame), self._finder.checkpoint_name
        record = frame_record(frame, camera, heads, origin, checkpoint)
        with _interrupted_afterwards():
            self._results.add(frame, camera, heads, record)
            self.frames += 1
            self.heads += len(heads)


def _stem(source: Source) -> str:
    return source.name.replace(" ", "_") if source.kind in ("folder", "webcam") else Path(source.name).stem


def _tell(message: str) -> None:
    print(f"trg-headpose: {message}", file=sys.stderr)


@contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Lets Ctrl-C wait, so that each frame has both its line and its overlay, or neither."""
    waiting: list[tuple[int, FrameType | None]] = []
    previous = signal.signal(signal.SIGINT, lambda *interruption: waiting.append(interruption))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if waiting and callable(previous):
        previous(*waiting[0])


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
