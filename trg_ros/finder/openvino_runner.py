"""The finder's network in OpenVINO, made of its numbers layer by layer: no torch, and nothing to cache."""

from __future__ import annotations

from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.openvino_backend import import_openvino
from trg_ros.checkpoint_file import Tensors
from trg_ros.finder.config import MEAN, SCALE
from trg_ros.finder.weights import FinderWeights

#: Image sizes for which a compiled network is kept.
_SIZES = 4


class OpenVINORunner:
    """One compiled network per shape of the images; OpenVINO is faster when it knows it.

    :param threads: CPU threads. :raises DeviceError: without OpenVINO.
    """

    def __init__(self, weights: FinderWeights, threads: int) -> None:
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        self._model = openvino_model(weights)
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB, H and W aligned -> (N, 14, H/8, W/8)."""
        if images.shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(images.shape))
            compiled = self._core.compile_model(model, "CPU", self._options)
            self._requests[images.shape] = compiled.create_infer_request()
            if len(self._requests) > _SIZES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(images.shape)
        request = self._requests[images.shape]
        request.set_input_tensor(0, self._openvino.Tensor(images, shared_memory=True))
        request.infer(share_outputs=True)
        return request.get_output_tensor(0).data.copy()


def openvino_model(weights: FinderWeights) -> Any:
    """The network as an OpenVINO model of images of any number and size; see `FinderNetwork`."""
    openvino = import_openvino()
    from openvino import opset13

    graph = _Graph(opset13, weights.tensors)
    images = opset13.parameter([-1, -1, -1, 3], np.uint8)
    planes = opset13.transpose(opset13.convert(images, "f32"), [0, 3, 1, 2])
    x = (planes - np.array([MEAN], np.float32)) * np.array([SCALE], np.float32)
    x = graph.relu(graph.convolution("stem.0", x, stride=2))
    maps = []
    for stage, depth in enumerate(weights.config.depths[1:]):
        for block in range(1 + depth):
            x = graph.separable(f"stages.{stage}.{block}", x, stride=1 if block else 2, residual=block > 0)
        maps.append(x)
    coarse = graph.convolution("lateral.2.0", maps[3])
    for level in (1, 0):
        fine = graph.convolution(f"lateral.{level}.0", maps[level + 1])
        coarse = graph.separable(f"merge.{level}", graph.relu(fine + graph.doubled(coarse)))
    answer = graph.convolution("head.1", graph.separable("head.0", coarse))
    return openvino.Model([answer], [images], "finder")


class _Graph:
    """Layers by the names of their tensors."""

    def __init__(self, opset: ModuleType, tensors: Tensors) -> None:
        self._opset, self._tensors = opset, tensors

    def relu(self, x: Any) -> Any:
        return self._opset.relu(x)

    def doubled(self, x: Any) -> Any:
        """Twice as wide and as high, each value four times."""
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        scales = np.array([2, 2], np.float32)
        return self._opset.interpolate(x, scales, "nearest", "scales", axes=np.array([2, 3]), **how)

    def convolution(self, name: str, x: Any, stride: int = 1, depthwise: bool = False) -> Any:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        pad = weight.shape[-1] // 2
        convolve = self._opset.group_convolution if depthwise else self._opset.convolution
        kernels = weight[:, None] if depthwise else weight
        return convolve(x, kernels, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1]) + bias[None, :, None, None]

    def separable(self, name: str, x: Any, stride: int = 1, residual: bool = True) -> Any:
        spatial = self.convolution(f"{name}.spatial.0", x, stride, depthwise=True)
        y = self.relu(self.convolution(f"{name}.mix.0", spatial))
        return x + y if residual else y
