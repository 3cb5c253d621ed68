"""The finder as a face detector: any image in, TRG boxes out, by OpenVINO or torch."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.openvino_backend import openvino_installed
from trg_ros.detection import Detections, ReducingDetector
from trg_ros.errors import DeviceError, InputError
from trg_ros.finder.config import ALIGNMENT
from trg_ros.finder.decoding import decode
from trg_ros.finder.weights import PACKAGED, FinderWeights, load_finder

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "openvino", "torch")


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
            found = decode(self._run(canvas)[0], self.min_score)
        return Detections(found.boxes, found.scores, found.points)


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
