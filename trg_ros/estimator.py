"""HeadPoseEstimator: image + camera (+ boxes) -> metric head poses. No ROS here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.backends import Backend, NetworkResult, make_backend
from trg_ros.backends.memory import BatchLimit
from trg_ros.backends.mirrored import mirrored
from trg_ros.backends.protocol import Crops, Cutter
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, default_checkpoint_path, load_checkpoint
from trg_ros.checks import (
    check_image,
    check_view,
    checked_boxes,
    checked_cameras,
    checked_count,
    checked_crops,
    checked_scores,
)
from trg_ros.crop import CropWindows, cut_crops
from trg_ros.detection import Detections, FaceDetector, make_detector
from trg_ros.errors import DetectorError, InputError
from trg_ros.heads import HeadPose, build_heads
from trg_ros.opinions import DISAGREEMENT, USUAL_DISAGREEMENT
from trg_ros.pnp import with_pose_source
from trg_ros.windows import NO_RESULT, WindowEstimates, windows_of_boxes

if TYPE_CHECKING:
    import torch

__all__ = ["HeadPose", "HeadPoseEstimator"]


class HeadPoseEstimator:
    """Estimates every head in an image at once; see :meth:`load`. On a CPU several threads may share it.

    ``forward_passes`` counts how often the network ran (once per batch of faces).
    """

    def __init__(
        self, checkpoint: Checkpoint, backend: Backend, detector: str | FaceDetector | None = "auto"
    ) -> None:
        self.checkpoint = checkpoint
        self.forward_passes = 0
        self._backend = backend
        self._mirrored = mirrored(backend, checkpoint.topology)
        self._batches = BatchLimit()
        self._detector: str | FaceDetector | None = detector
        if isinstance(detector, str) and detector != "auto":
            self._detector = make_detector(detector)
        elif not (detector is None or detector == "auto" or hasattr(detector, "trg_boxes")):
            raise DetectorError(
                f"detector is a {type(detector).__name__}: expected a name, None, or an object with the "
                "methods of trg_ros.FaceDetector"
            )

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        device: str | torch.device = "auto",
        backend: str = "auto",
        detector: str | FaceDetector | None = "auto",
        threads: int | None = None,
        pose_source: str = "trg",
    ) -> HeadPoseEstimator:
        """Load a network and make it ready.

        :param checkpoint: file (or a loaded checkpoint); None: the packaged weights.
        :param device: "auto" (a GPU if there is one, else the CPU, which is logged), "cpu", "cuda" or
            "cuda:N"; a ``torch.device`` will do.
        :param backend: "auto" (on a GPU "cuda"; on the CPU OpenVINO if it is installed, else torch), or one
            of ``trg_ros.backends.BACKENDS``.
        :param detector: "auto" looks for one when it is first needed; a name as for ``make_detector``; an
            object with its methods; None: boxes always come from outside.
        :param threads: CPU threads of the network; None: the back end's choice. For torch this is a setting
            of the whole process. Beside other processes one is best, or start Python with
            ``OMP_WAIT_POLICY=PASSIVE``.
        :param pose_source: "trg", or "pnp" for the landmarks-then-PnP baseline; see ``trg_ros.pnp``.
        :raises CheckpointError: for a file that isn't one of our checkpoints.
        :raises DeviceError: for a GPU that was asked for and isn't there.
        :raises DetectorError: for a detector that was named and isn't there.
        """
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load_checkpoint(default_checkpoint_path() if checkpoint is None else checkpoint)
        network = make_backend(checkpoint, str(device), backend, threads)
        network = with_pose_source(network, pose_source)
        if pose_source != "trg":  # the uncertainty head knows TRG's own errors only
            checkpoint = dataclasses.replace(checkpoint, uncertainty=None)
        return cls(checkpoint, network, detector)

    def __repr__(self) -> str:
        weights = f"{self.checkpoint.info.name} {self.checkpoint.info.version}".strip()
        return f"HeadPoseEstimator({weights}, {self.backend_name} on {self.device})"

    @property
    def device(self) -> str:
        """Where the network runs: "cpu", "cuda:0", ..."""
        return self._backend.device

    @property
    def backend(self) -> Backend:
        """What runs the network."""
        return self._backend

    @property
    def backend_name(self) -> str:
        """What runs the network and how precisely: "torch fp32", "openvino fp32", ..."""
        return self._backend.name

    @property
    def detector(self) -> FaceDetector:
        """The face detector, looked for on first use.

        :raises DetectorError: if there is none, saying how to get one.
        """
        if self._detector is None:
            raise DetectorError(
                "this estimator has no face detector: give boxes, or load it with detector='auto'"
            )
        if isinstance(self._detector, str):
            self._detector = make_detector(self._detector)
        return self._detector

    @property
    def has_detector(self) -> bool:
        """Whether faces can be looked for; the detector may still be missing on this machine."""
        return self._detector is not None

    def detect(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """The detector's faces in an image (H, W, 3) uint8 BGR; ``detector.trg_boxes`` makes TRG's boxes."""
        check_image(image_bgr)
        found = self.detector.detect(image_bgr)
        if not isinstance(found, Detections):
            raise DetectorError(
                f"the detector's answer is a {type(found).__name__}: detect() must give Detections"
            )
        return found

    def estimate(
        self,
        image_bgr: NDArray[np.uint8],
        camera: CameraModel,
        boxes: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        refine: int = 2,
        mirror: bool = True,
    ) -> list[HeadPose]:
        """Estimate the heads in an image.

        :param image_bgr: (H, W, 3) uint8, raw (distorted), of the camera's size.
        :param boxes: (N, 4) TRG boxes LTRB px (about 1.5 times the extent of the 68 landmarks; the larger
            side counts; they may reach out of the image); None: the detector's faces. Of tight face boxes
            :func:`~trg_ros.detection.trg_boxes_from_face_boxes` makes such.
        :param scores: (N,) how sure the source of ``boxes`` is, 0..1.
        :param refine: how often to look again, closer, facing the head and upright with it; two more settle
            it.
        :returns: one head for each box in order, or the detector's best first. A head's score is the lower of
            the box's score (1 if there is none) and the network's own :func:`~trg_ros.opinions.consistency`.
        :raises InputError: for an image or boxes that can't be used, or an image not of the camera's size.
        :raises DetectorError: if boxes are needed and there is no detector.
        """
        check_view(image_bgr, camera)
        if boxes is None:
            found = self.detect(image_bgr)
            windows = CropWindows.from_boxes(camera, self.detector.trg_boxes(found))
            box_scores = np.asarray(found.scores, dtype=np.float64)[windows.valid]
            windows = windows[windows.valid]
        else:
            windows = windows_of_boxes(camera, boxes)
            box_scores = checked_scores(scores, len(windows))
        looks = np.full(len(windows), checked_count("refine", refine, least=0))
        estimates = self.estimate_windows(image_bgr, camera, windows, looks, mirror)
        return self.heads(estimates, camera, box_scores)

    def estimate_crops(
        self, crops_rgb: NDArray[np.uint8], boxes: ArrayLike, camera: CameraModel | Sequence[CameraModel]
    ) -> list[HeadPose]:
        """Estimate heads from crops that were cut elsewhere, without a second look.

        :param crops_rgb: (N, S, S, 3) uint8 RGB, S the checkpoint's input size; pixel 0 is the box's left
            (top) edge, pixel S - 1 its right (bottom) edge.
        :param boxes: (N, 4) LTRB px in the image of ``camera``, where the crops were cut.
        :param camera: of all N, or a sequence of N cameras.
        :raises InputError: for shapes that don't fit each other or the checkpoint.
        """
        crops_rgb = checked_crops(crops_rgb, self.checkpoint.config.input_size)
        boxes = checked_boxes(boxes)
        cameras = checked_cameras(camera)
        shared = isinstance(camera, CameraModel)
        if len(boxes) != len(crops_rgb) or not (shared or len(cameras) == len(crops_rgb)):
            raise InputError(
                f"{len(crops_rgb)} crops, {len(boxes)} boxes and {len(cameras)} cameras don't belong together"
            )
        if not len(boxes):
            return []
        if shared:
            windows = windows_of_boxes(cameras[0], boxes, turn=False)
        else:
            windows = CropWindows.concatenate(
                [windows_of_boxes(one, boxes[i : i + 1], turn=False) for i, one in enumerate(cameras)]
            )
        result = self._infer(np.ascontiguousarray(crops_rgb), windows)
        judged = self._judged(windows, result)
        return build_heads(result, windows, camera, judged.consistency, self.checkpoint, judged.opinions)

    def estimate_windows(
        self,
        image_bgr: NDArray[np.uint8],
        camera: CameraModel,
        windows: CropWindows,
        refine: NDArray[np.int64],
        mirror: bool = False,
    ) -> WindowEstimates:
        """The network on windows of an image, each looked at again ``refine`` (N,) times; for trackers.

        Checks nothing: the image has been checked, the windows are valid.

        :param windows: in TRG's box convention. Second looks are closer if the network was trained to; the
            windows of the estimates are those that it saw.
        """
        if not len(windows):
            return self._judged(windows, NO_RESULT)
        cut, closer = self._cutter(image_bgr, camera), self.checkpoint.config.second_look_scale
        result = self._infer(cut(windows), windows, mirror)
        judged = self._judged(windows, result)
        for look in range(int(refine.max())):
            again = np.flatnonzero((refine > look) & judged.plausible)
            if not len(again):
                break
            windows = windows.with_rows(again, judged.implied[again].scaled(closer))
            second = self._infer(cut(windows[again]), windows[again], mirror)
            judged = self._judged(windows, judged.result.with_rows(again, second))
        return judged

    def heads(self, estimates: WindowEstimates, camera: CameraModel, box_scores: NDArray) -> list[HeadPose]:
        """The heads of :meth:`estimate_windows`; ``box_scores`` (N,) as for :meth:`estimate`."""
        if not len(estimates.windows):
            return []
        scores = np.minimum(box_scores, estimates.consistency)
        return build_heads(
            estimates.result, estimates.windows, camera, scores, self.checkpoint, estimates.opinions
        )

    def _infer(self, crops_rgb: Crops, windows: CropWindows, mirror: bool = False) -> NetworkResult:
        self.forward_passes += 1
        backend = self._mirrored if mirror else self._backend
        return self._batches.infer(backend, crops_rgb, windows.normalised)

    def _cutter(self, image_bgr: NDArray[np.uint8], camera: CameraModel) -> Cutter:
        """What cuts crops of an image: the back end where it runs, or else the CPU."""
        own = getattr(self._backend, "cutter", None)
        if own is not None:
            return own(image_bgr, camera)
        return partial(cut_crops, image_bgr, camera, size=self.checkpoint.config.input_size)

    def _judged(self, windows: CropWindows, result: NetworkResult) -> WindowEstimates:
        usual = self.checkpoint.info.measured_errors.get(DISAGREEMENT, USUAL_DISAGREEMENT)
        return WindowEstimates.judged(windows, result, float(usual))
