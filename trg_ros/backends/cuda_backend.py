"""The network on a CUDA GPU: half precision where that is harmless, CUDA graphs, crops cut on the GPU.

None of it is taken on trust: when a network is loaded, its answers to drawn faces, in batches of each size,
are compared with those of the plain network in float32, and its crops with the CPU's. What isn't right, or
doesn't work on this machine, is left out with a warning, and the next slower way is tried.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trg_ros.backends.cuda_crops import DeviceFrame
from trg_ros.backends.cuda_graphs import SIZES, FixedBatches, is_out_of_memory
from trg_ros.backends.cuda_network import PackedNetwork, unpacked
from trg_ros.backends.cuda_probe import disagreement, probe
from trg_ros.backends.protocol import Backend, Crops, Cutter, NetworkResult, joined
from trg_ros.backends.torch_backend import TorchBackend, without_tf32
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint
from trg_ros.crop import CropWindows, cut_crops
from trg_ros.errors import DeviceError
from trg_ros.model.deploy import DeployedTRG

logger = logging.getLogger(__name__)

#: A crop may differ from the CPU's by that many grey levels; a few samples, at its edges, by more.
_MAX_GREY_LEVELS, _MAX_OUTLIERS = 2, 0.01
_LENSES: dict[str, tuple[float, ...]] = {
    "none": (),
    "plumb_bob": (-0.3, 0.1, 0.002, -0.001, 0.0),
    "rational_polynomial": (0.6, -2.9, 0.0004, -0.0002, 1.6, 0.48, -2.7, 1.55),
    "equidistant": (0.02, -0.01, 0.003, -0.001),
}
_PLAIN_BATCH = 8
#: What torch raises when something is missing or fails on a GPU that nobody has tried.
_FAILURES = (RuntimeError, TypeError, AttributeError)


class CudaBackend:
    """The network recorded in CUDA graphs. On the CPU, for tests, it runs the same code without graphs.

    :param half: feature maps in float16; a batch whose answer isn't finite is computed again in float32.
    :param sizes: numbers of faces that graphs are made for; more at once come in several batches.
    :raises RuntimeError: from torch, when it doesn't work here.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, half: bool = True, sizes: Sequence[int] = SIZES
    ) -> None:
        self._device = device
        self._half = half
        self._size = checkpoint.config.input_size
        self._crops_work = True
        deployed = DeployedTRG(checkpoint.build_model())
        with without_tf32(device):
            self._batches = self._network(deployed, half, sizes)
            self._exact = self._network(deployed, False, sizes[:1], graphs=False) if half else None
        self._landmarks = deployed.landmarks.to(device)

    def _network(
        self, deployed: DeployedTRG, half: bool, sizes: Sequence[int], graphs: bool = True
    ) -> FixedBatches:
        network = PackedNetwork(copy.deepcopy(deployed), half).to(self._device)
        return FixedBatches(network, self._size, self._device, sizes, graphs)

    @property
    def name(self) -> str:
        """What runs the network and how precisely."""
        return f"cuda {'fp16' if self._half else 'fp32'} graphs"

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self._device)

    @property
    def sizes(self) -> list[int]:
        """Numbers of faces that there are graphs for."""
        return self._batches.sizes

    def infer(self, crops_rgb: Crops, boxes: NDArray[np.float32]) -> NetworkResult:
        """As :meth:`Backend.infer`; the crops may be those of a :meth:`cutter`."""
        rows = self._batches.run(crops_rgb, boxes)
        if self._exact is not None and not np.isfinite(rows).all():
            logger.warning("a batch went beyond the range of half precision; computing it again in float32")
            with without_tf32(self._device):
                rows = self._exact.run(crops_rgb, boxes)
        return unpacked(rows, self._decode)

    def cutter(self, image_bgr: NDArray[np.uint8], camera: CameraModel) -> Cutter:
        """Uploads an image (H, W, 3); what comes back cuts windows of it: crops for :meth:`infer`, RGB."""
        on_cpu = functools.partial(cut_crops, image_bgr, camera, size=self._size)
        if not self._crops_work:
            return on_cpu
        try:
            with self._batches.working():
                frame = DeviceFrame(image_bgr, camera, self._size, self._device)
        except torch.OutOfMemoryError:
            logger.warning("%s has no memory for an image: the CPU cuts its crops", self.device)
            return on_cpu

        def cut(windows: CropWindows) -> Crops:
            try:
                with self._batches.working():
                    return frame.cut(windows)
            except torch.OutOfMemoryError:
                count = len(windows)
                logger.warning("%s has no memory to cut %d crops: the CPU cuts them", self.device, count)
                return on_cpu(windows)

        return cut

    def check_crops(self) -> None:
        """Compare crops with those of the CPU; if they differ, the CPU cuts them from now on."""
        try:
            wrong = _wrong_crops(self)
        except _FAILURES as error:
            wrong = f"they fail: {_first_line(error)}"
        if wrong:
            self._crops_work = False
            logger.warning("crops on %s are not used: %s; the CPU cuts them", self.device, wrong)

    def _decode(self, shape_code: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._batches.working(), without_tf32(self._device):
            code = torch.from_numpy(np.ascontiguousarray(shape_code)).to(self._device)
            return self._landmarks(code).cpu().numpy()


def make_cuda_backend(
    checkpoint: Checkpoint, device: torch.device, threads: int | None = None, sizes: Sequence[int] = SIZES
) -> Backend:
    """The fastest way to run a network on this GPU that gives the answers of the plain one.

    In this order: half precision in CUDA graphs, single precision in CUDA graphs, and eager torch in single
    precision, with which the others are compared.

    :raises DeviceError: if the GPU can't do even that.
    """
    try:
        plain = TorchBackend(checkpoint, device, threads)
        crops, boxes = probe(max(sizes), checkpoint.config.input_size)
        expected = _in_batches(plain, crops, boxes)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device} has no memory for the network: end other programs on it, or use device cpu"
        ) from error
    except RuntimeError as error:
        raise DeviceError(
            f"{device} can't run the network ({_first_line(error)}): use device cpu, or install a torch that "
            "is made for this GPU and its driver"
        ) from error
    for half in (True, False):
        try:
            backend = CudaBackend(checkpoint, device, half, sizes)
            wrong = _wrong_answers(backend, crops, boxes, expected)
        except _FAILURES as error:
            wrong = "out of memory" if is_out_of_memory(error) else _first_line(error)
        if not wrong:
            backend.check_crops()
            return backend
        name = f"{'half' if half else 'single'} precision in CUDA graphs"
        logger.warning("%s: %s is not used: %s", device, name, wrong)
    logger.warning("%s: running in eager torch, which is slower", device)
    return plain


def _in_batches(plain: Backend, crops: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NetworkResult:
    parts = [slice(first, first + _PLAIN_BATCH) for first in range(0, len(crops), _PLAIN_BATCH)]
    return joined([plain.infer(crops[part], boxes[part]) for part in parts])


def _wrong_answers(
    backend: CudaBackend, crops: NDArray[np.uint8], boxes: NDArray[np.float32], expected: NetworkResult
) -> str | None:
    """What is wrong with its answers, in full batches of each size and in those that leave a row empty."""
    counts = {count for size in backend.sizes for count in (size, size - 1) if count}
    for count in sorted(counts, reverse=True):
        answer = backend.infer(crops[-count:], boxes[-count:])
        wrong = disagreement(answer, expected[slice(len(expected) - count, None)])
        if wrong:
            return wrong
    return None


def _wrong_crops(backend: CudaBackend) -> str | None:
    """What is wrong with the crops that it cuts of a picture, through each kind of lens."""
    image = cv2.resize(probe(1, 64)[0][0], (320, 240), interpolation=cv2.INTER_CUBIC)
    boxes = np.array([[60.3, 40.2, 150.9, 130.8], [-30.0, -20.0, 90.0, 100.0], [20.0, 5.0, 300.0, 285.0]])
    for model, coefficients in _LENSES.items():
        camera = CameraModel(250.0, 255.0, 155.0, 118.0, 320, 240, np.array(coefficients), model)
        windows = CropWindows.from_boxes(camera, boxes)
        crops = backend.cutter(image, camera)(windows)
        if not isinstance(crops, Tensor):
            return "out of memory"
        expected = cut_crops(image, camera, windows, crops.shape[1])
        off = np.abs(crops.cpu().numpy().astype(int) - expected) > _MAX_GREY_LEVELS
        if off.mean() > _MAX_OUTLIERS:
            return f"{100 * off.mean():.0f} % of their values, lens {model}, are not those of the CPU"
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
