"""The finder as a face detector: any image in, TRG boxes out, by OpenVINO or torch."""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.openvino_backend import openvino_installed
from trg_ros.detection import Detections, ReducingDetector
from trg_ros.errors import DeviceError, InputError
from trg_ros.finder.config import ALIGNMENT
from trg_ros.finder.decoding import decode, heat_of
from trg_ros.finder.weights import PACKAGED, FinderWeights, load_finder

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "openvino", "torch")
#: A find is looked at again in so many pixels, of which its box gets so many.
_CLOSE, _CLOSE_SIDE = 128, 90
#: A find that is that much (logit) below the smallest score gets a second look.
_BENEFIT_OF_DOUBT = 0.7
#: A find that is surer than that (logit) needs none.
_SURE_AT_ONCE = 1.4
#: One that is no further (logit) from the smallest score after it is looked at again, as is and in grey.
_UNDECIDED = 0.3


class _Runner(Protocol):
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB, H and W aligned -> (N, 14, H/8, W/8)."""


class TRGFinder(ReducingDetector):
    """The package's own detector. Its boxes are TRG boxes already: squares around the face's 68 landmarks.

    :param path: finder weights; None: the packaged ones.
    :param max_side: longer side of the image that is searched, px. Boxes under 14 px there are not found.
    :param backend: "openvino", "torch", or "auto": OpenVINO where it is installed.
    :param threads: CPU threads of OpenVINO; torch uses its global setting.
    :raises CheckpointError: for a missing or damaged file. :raises DeviceError: without the back end.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        max_side: int = 320,
        min_score: float = 0.6,
        backend: str = "auto",
        threads: int = 1,
    ) -> None:
        super().__init__(max_side, min_score)
        if backend not in BACKENDS:
            raise InputError(f"finder backend {backend!r} is unknown: use {', '.join(BACKENDS)}")
        weights = load_finder(path or PACKAGED)
        self.card = weights.card
        self._run = _make_runner(weights, backend, threads)
        self._lock = threading.Lock()

    def trg_boxes(self, detections: Detections) -> NDArray[np.float32]:
        """(N, 4) LTRB px: the boxes, exactly square."""
        corners = detections.boxes.reshape(-1, 2, 2)
        center, sides = corners.mean(axis=1), corners[:, 1] - corners[:, 0]
        half = sides.mean(axis=1, keepdims=True) / 2
        return np.concatenate([center - half, center + half], axis=1)

    def _detect(self, image_bgr: NDArray[np.uint8]) -> Detections:
        height, width = image_bgr.shape[:2]
        rows, columns = (-(-length // ALIGNMENT) * ALIGNMENT for length in (height, width))
        canvas = np.zeros((1, rows, columns, 3), np.uint8)
        canvas[0, :height, :width] = cv2.cvtColor(np.ascontiguousarray(image_bgr), cv2.COLOR_BGR2RGB)
        with self._lock:
            found = decode(self._run(canvas)[0], _sure(_logit(self.min_score) - _BENEFIT_OF_DOUBT))
        return Detections(found.boxes, found.scores, found.points)

    def _confirm(self, image_bgr: NDArray[np.uint8], found: Detections) -> Detections:
        """Finds that are not sure at once are looked at again, close by, in all the image's detail: in a
        mirror, and, if that leaves them undecided, as they are and in grey. A face's score is the mean of all
        looks, as logits; then the search, the only one that sees all around it, counts twice."""
        scores, smallest = found.scores.copy(), _logit(self.min_score)
        for k, box in enumerate(self.trg_boxes(found)):
            search = _logit(float(found.scores[k]))
            if search > max(_SURE_AT_ONCE, smallest):
                continue
            close = _close_by(image_bgr, box)
            logits = [search, self._look(close[:, :, ::-1])]
            if abs(float(np.mean(logits)) - smallest) < _UNDECIDED:
                logits += [search, self._look(close), self._look(_gray(close))]
            scores[k] = _sure(float(np.mean(logits)))
        return Detections(found.boxes, scores, found.keypoints)

    def _look(self, picture: NDArray[np.uint8]) -> float:
        """How sure (logit) a picture (1, 128, 128, 3) RGB is of a face where :func:`_close_by` puts it."""
        wanted = (_CLOSE - np.array([1, 1, -1, -1]) * _CLOSE_SIDE) / 2
        with self._lock:
            return heat_of(self._run(np.ascontiguousarray(picture))[0], wanted)


def _close_by(image_bgr: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(1, 128, 128, 3) RGB: a square box LTRB px and what is around it; black outside the image."""
    reach = (box[2:] - box[:2]) * (_CLOSE / _CLOSE_SIDE / 2)
    center, size = (box[:2] + box[2:]) / 2, image_bgr.shape[1::-1]
    low, high = np.floor(center - reach), np.ceil(center + reach) + 1
    # Two pixels each way where there are: OpenCV 4.5.4 takes no picture of one pixel.
    left, top = (int(value) for value in np.clip(low, 0, np.maximum(np.array(size) - 2, 0)))
    right, bottom = (int(value) for value in np.clip(high, [left + 2, top + 2], size))
    part: NDArray[Any] = image_bgr[top:bottom, left:right]
    scale = _CLOSE / (2 * float(reach[0]))
    if scale < 1:
        new = max(2, round(part.shape[1] * scale)), max(2, round(part.shape[0] * scale))
        part = cv2.resize(part, new, interpolation=cv2.INTER_AREA)
    zoom = (np.array([right - left, bottom - top]) / part.shape[1::-1]) * scale
    shift = _CLOSE / 2 - scale * (center - [left, top] + 0.5) + zoom / 2 - 0.5
    place = np.array([[zoom[0], 0, shift[0]], [0, zoom[1], shift[1]]])
    close = cv2.warpAffine(part, place, (_CLOSE, _CLOSE), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray(close[None, ..., ::-1])


def _gray(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(1, H, W, 3) RGB without colours."""
    gray = cv2.cvtColor(picture[0], cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB))[None]


def _logit(score: float) -> float:
    score = min(max(score, 1e-3), 1 - 1e-3)
    return math.log(score / (1 - score))


def _sure(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _make_runner(weights: FinderWeights, backend: str, threads: int) -> _Runner:
    if backend == "openvino" or (backend == "auto" and openvino_installed()):
        from trg_ros.finder.openvino_runner import OpenVINORunner

        try:
            return OpenVINORunner(weights, threads)
        except DeviceError as error:
            if backend != "auto":
                raise
            logger.warning("finder: %s; running in torch", error)
    from trg_ros.finder.torch_runner import TorchRunner  # only it needs torch

    return TorchRunner(weights)
