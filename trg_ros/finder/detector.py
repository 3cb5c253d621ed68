"""The finder as a face detector: any image in, TRG boxes out, by OpenVINO or torch."""

from __future__ import annotations

import hashlib
import logging
import threading
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from trg_ros.backends.model_cache import ModelCache
from trg_ros.backends.openvino_backend import import_openvino, openvino_installed
from trg_ros.detection import Detections, ReducingDetector
from trg_ros.errors import DeviceError, InputError
from trg_ros.finder import network as network_module
from trg_ros.finder.decoding import decode
from trg_ros.finder.network import ALIGNMENT, FinderNetwork
from trg_ros.finder.weights import PACKAGED, load_finder

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "openvino", "torch")
#: Image sizes for which a compiled network is kept.
_SIZES = 4


class _Runner(Protocol):
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(1, H, W, 3) uint8 RGB, H and W aligned -> (14, H/8, W/8)."""


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
        network, self.card = load_finder(path or PACKAGED)
        self._run = _make_runner(network, backend, threads)
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
            found = decode(self._run(canvas), self.min_score)
        return Detections(found.boxes, found.scores, found.points)


def _make_runner(network: FinderNetwork, backend: str, threads: int) -> _Runner:
    if backend == "torch" or (backend == "auto" and not openvino_installed()):
        return _TorchRunner(network)
    try:
        return _OpenVINORunner(network, threads)
    except DeviceError as error:
        if backend != "auto":
            raise
        logger.warning("finder: %s; running in torch", error)
        return _TorchRunner(network)


class _TorchRunner:
    def __init__(self, network: FinderNetwork) -> None:
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._network(torch.from_numpy(images))[0].numpy()


class _OpenVINORunner:
    """One compiled network per image size; OpenVINO is faster when it knows the size."""

    def __init__(self, network: FinderNetwork, threads: int) -> None:
        openvino = import_openvino()
        self._core, self._openvino = openvino.Core(), openvino
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        self._model = ModelCache().load_or_build(
            _key(network, openvino.__version__),
            load=lambda folder: self._core.read_model(folder / "finder.xml"),
            build=lambda: _convert(network),
            save=lambda model, folder: openvino.save_model(
                model, folder / "finder.xml", compress_to_fp16=False
            ),
        )
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if images.shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(images.shape))
            self._requests[images.shape] = self._core.compile_model(
                model, "CPU", self._options
            ).create_infer_request()
            if len(self._requests) > _SIZES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(images.shape)
        request = self._requests[images.shape]
        request.set_input_tensor(0, self._openvino.Tensor(images, shared_memory=True))
        request.infer(share_outputs=True)
        return request.get_output_tensor(0).data[0].copy()


def _convert(network: FinderNetwork) -> Any:
    example = torch.zeros((1, 2 * ALIGNMENT, 3 * ALIGNMENT, 3), dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers torch.export, which takes longer
        traced = torch.jit.trace(network, example, check_trace=False)
    model = import_openvino().convert_model(traced)
    model.reshape([1, -1, -1, 3])
    return model


def _key(network: FinderNetwork, openvino_version: str) -> str:
    """Changes with everything that the converted network depends on."""
    digest = hashlib.sha256(f"{openvino_version} {torch.__version__} {network.config}".encode())
    for source in (Path(network_module.__file__), Path(__file__)):
        digest.update(source.read_bytes())
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} ".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return f"finder-{digest.hexdigest()[:32]}"
