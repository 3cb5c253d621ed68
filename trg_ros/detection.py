"""Face boxes: one protocol, small adapters, and where TRG's box is relative to a detector's.

Boxes are left, top, right, bottom in pixels of the image that was given; pixel (0, 0) is the centre of the
upper left one. ``boxes`` are the detector's own; :meth:`FaceDetector.trg_boxes` turns them into the square
boxes that TRG was trained on.
"""

from __future__ import annotations

import importlib.util
import logging
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.checks import check_image
from trg_ros.errors import DetectorError, InputError
from trg_ros.libfacedetection import FaceDetectionLibrary
from trg_ros.paths import user_path

logger = logging.getLogger(__name__)

#: Where TRG's box is in terms of a tight face box: centre lowered by this part of the box's height ...
TRG_BOX_SHIFT = 0.08
#: ... and this many times the box's larger side. Measured for YuNet, which is libfacedetection's network too.
TRG_BOX_SCALE = 1.17
#: How sure the other detector has to be: of what the finder took for a face in 138 photos, and the network
#: for a head, one fist scores more; hair, a cloth and a balloon score less.
_OTHER_SCORE = 0.7


@dataclass(frozen=True)
class Detections:
    """N faces of one image, best first.

    :param boxes: (N, 4) float32, detector boxes LTRB px.
    :param scores: (N,) float32 in 0..1.
    :param keypoints: (N, 5, 2) float32 px: the person's right eye, left eye, nose tip, right and left mouth
        corner; or None.
    """

    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    keypoints: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.boxes)


class FaceDetector(Protocol):
    """Anything that finds faces. A class that inherits from this needs :meth:`detect` only, if its boxes are
    tight ones, forehead to chin."""

    @abstractmethod
    def detect(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Faces in an image (H, W, 3) uint8 BGR, which may be a view with padded rows."""

    def trg_boxes(self, detections: Detections) -> NDArray[np.float32]:
        """(N, 4) LTRB px square boxes for TRG; see :func:`trg_boxes_from_face_boxes`."""
        return trg_boxes_from_face_boxes(detections.boxes)


def trg_boxes_from_face_boxes(
    boxes: ArrayLike, shift: float = TRG_BOX_SHIFT, scale: float = TRG_BOX_SCALE
) -> NDArray[np.float32]:
    """TRG boxes from tight face boxes, forehead to chin as YuNet draws them: both (N, 4) LTRB px.

    :param shift: how far the centre moves down, over the box's height.
    :param scale: side of the result over the larger side of the box.
    """
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    center = 0.5 * (boxes[:, :2] + boxes[:, 2:])
    center[:, 1] += shift * sides[:, 1]
    half = 0.5 * scale * sides.max(axis=1, keepdims=True)
    return np.concatenate([center - half, center + half], axis=1)


class ReducingDetector:
    """What detectors share: detect on a smaller copy, scale back, drop weak faces, sort by score."""

    def __init__(self, max_side: int, min_score: float) -> None:
        if not isinstance(max_side, int) or max_side < 32:
            raise InputError(
                f"detector max_side is {max_side!r}: it must be a whole number of at least 32 pixels"
            )
        if not 0 <= min_score <= 1:
            raise InputError(f"detector min_score is {min_score!r}: it must lie between 0 and 1")
        self.max_side = max_side
        self.min_score = float(min_score)

    def detect(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Faces of an image (H, W, 3) uint8 BGR; the longer side is reduced to ``max_side`` first.

        :raises InputError: for another kind of array.
        """
        check_image(image_bgr)
        height, width = image_bgr.shape[:2]
        reduction = min(1.0, self.max_side / max(height, width))
        small: NDArray[Any] = image_bgr
        if reduction < 1:
            size = (max(1, round(width * reduction)), max(1, round(height * reduction)))
            small = cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)
        found = self._detect(small)
        scale = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
        boxes = (found.boxes.reshape(-1, 2, 2) + 0.5) * scale - 0.5
        keypoints = None if found.keypoints is None else (found.keypoints + 0.5) * scale - 0.5
        found = self._confirm(image_bgr, Detections(boxes.reshape(-1, 4), found.scores, keypoints))
        keep = np.argsort(-found.scores, kind="stable")
        keep = keep[found.scores[keep] >= self.min_score]
        keypoints = None if found.keypoints is None else found.keypoints[keep]
        return Detections(found.boxes[keep], found.scores[keep], keypoints)

    def trg_boxes(self, detections: Detections) -> NDArray[np.float32]:
        """(N, 4) LTRB px square boxes for TRG; see :func:`trg_boxes_from_face_boxes`."""
        return trg_boxes_from_face_boxes(detections.boxes)

    def _detect(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Faces of the reduced image, in its pixels."""
        raise NotImplementedError

    def _confirm(self, image_bgr: NDArray[np.uint8], found: Detections) -> Detections:
        """The same faces, in the pixels of the whole image, with the scores that count."""
        return found


class LibFaceDetection(ReducingDetector):
    """libfacedetection, the library by YuNet's author, called through ctypes on one thread.

    :param library: path of ``libfacedetection.so``; None: ``$TRG_LIBFACEDETECTION``, the installed ``yuface``
        package, ``<prefix>/lib``, then the loader's path.
    :param max_side: longer side of the image that is searched. Faces under about 1/15 of it are missed.
    :raises DetectorError: when there is no such library, saying how to get one.
    """

    def __init__(
        self, library: str | Path | None = None, max_side: int = 320, min_score: float = 0.6
    ) -> None:
        super().__init__(max_side, min_score)
        self._library = FaceDetectionLibrary(library)

    def _detect(self, image_bgr: NDArray[np.uint8]) -> Detections:
        faces = self._library.faces(image_bgr).astype(np.float32)
        boxes = np.concatenate([faces[:, 1:3], faces[:, 1:3] + faces[:, 3:5]], axis=1)
        return Detections(boxes, faces[:, 0] / np.float32(100), faces[:, 5:15].reshape(-1, 5, 2))


class InstalledDetector(LibFaceDetection):
    """libfacedetection, and beside it the package's own finder for those who search one image after the other
    and ask both in turn: each finds faces that the other one overlooks again and again."""

    @cached_property
    def other(self) -> FaceDetector | None:
        """The finder, made when it is first needed; None where it would have to wait for torch."""
        if importlib.util.find_spec("openvino") is None:
            return None
        return _trg_finder(max_side=self.max_side, min_score=max(self.min_score, _OTHER_SCORE))


class OpenCVYuNet(ReducingDetector):
    """OpenCV's ``FaceDetectorYN`` with a YuNet ONNX file of the user's (OpenCV 4.5.4 or newer).

    :param path: for instance ``face_detection_yunet_2023mar.onnx`` of OpenCV's model zoo.
    :raises DetectorError: when the file or OpenCV can't do it.
    """

    def __init__(self, path: str | Path, max_side: int = 320, min_score: float = 0.6) -> None:
        super().__init__(max_side, min_score)
        if not hasattr(cv2, "FaceDetectorYN"):
            raise DetectorError(
                f"OpenCV {cv2.__version__} has no FaceDetectorYN: install opencv-python-headless >= 4.5.4"
            )
        if not Path(path).is_file():
            raise DetectorError(
                f"YuNet model {path} is not a file: download face_detection_yunet_2023mar.onnx and give "
                "its path"
            )
        try:
            self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), self.min_score)
        except cv2.error as error:
            raise DetectorError(
                f"OpenCV can't use {path} as a YuNet model: {str(error).strip().splitlines()[-1]}"
            ) from error

    def _detect(self, image_bgr: NDArray[np.uint8]) -> Detections:
        self._network.setInputSize((image_bgr.shape[1], image_bgr.shape[0]))
        try:
            rows = self._network.detect(np.ascontiguousarray(image_bgr))[1]
        except cv2.error as error:
            raise DetectorError(
                f"OpenCV's FaceDetectorYN failed: {str(error).strip().splitlines()[-1]}"
            ) from error
        faces = np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
        return Detections(boxes, faces[:, 14], faces[:, 4:14].reshape(-1, 5, 2))


def make_detector(name: str = "auto", **options: Any) -> FaceDetector:
    """A detector by name.

    :param name: "libfacedetection"; "yunet" (needs ``path``); "trg", the package's own; "auto": yunet if a
        ``path`` is given, else libfacedetection where it is installed (trackers ask trg in turn with it),
        else trg.
    :param options: of :class:`LibFaceDetection`, :class:`OpenCVYuNet` or
        :class:`~trg_ros.finder.detector.TRGFinder`.
    :raises DetectorError: for an unknown name, or a detector that isn't there, naming the remedy.
    """
    for file in ("path", "library"):
        if options.get(file):
            options[file] = user_path(options[file])
    makers: dict[str, Any] = {"libfacedetection": LibFaceDetection, "yunet": OpenCVYuNet, "trg": _trg_finder}
    if name == "auto" and not options.get("path"):
        return _installed_detector(options)
    if name == "auto":
        name = "yunet"
    if name not in makers:
        raise DetectorError(f"detector {name!r} is unknown: use auto, {', '.join(makers)}")
    if name == "yunet" and not options.get("path"):
        raise DetectorError(
            "detector yunet needs a YuNet ONNX file: --detector-model of trg-headpose, detector_model of the "
            "node, path in Python"
        )
    if name == "libfacedetection":
        options.pop("path", None)
    return makers[name](**options)


def _installed_detector(options: dict[str, Any]) -> FaceDetector:
    options = {key: value for key, value in options.items() if key != "path"}
    try:
        return InstalledDetector(**options)
    except DetectorError as error:
        if options.pop("library", None):
            raise
        logger.warning(
            "detector auto: no libfacedetection (%s); using the package's own, trg, which finds fewer faces",
            error,
        )
    return _trg_finder(**options)


def _trg_finder(**options: Any) -> FaceDetector:
    from trg_ros.finder.detector import TRGFinder  # its imports take longer than the others'

    return TRGFinder(**options)
