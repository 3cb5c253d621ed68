"""From torch to OpenVINO: needed once for each checkpoint; from then on the cache has it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trg_ros.backends.openvino_backend import import_openvino
from trg_ros.checkpoint import Checkpoint
from trg_ros.model.deploy import DeployedTRG
from trg_ros.model.quantization import quantised

_POSE = ["landmarks68_head", "rotation", "translation", "shape_code"]


def convert(checkpoint: Checkpoint, parts: Sequence[str], integers: bool = False) -> list[Any]:
    """The network's parts as OpenVINO models with a dynamic batch; inputs and outputs have names.

    :param parts: of "network", which is "features" and "refinement" in one, and "landmarks".
    :param integers: make 8-bit integers of weights and activations; the checkpoint has to have peaks. Crops
        have a border of mean colour then.
    """
    network = DeployedTRG(checkpoint.build_model())
    if integers:
        network = quantised(network, checkpoint.activation_peaks or {})
    size = checkpoint.config.input_size + 2 * network.border
    crops = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    box = torch.tensor([[0.0, 0.0, 0.2], [0.1, 0.1, 0.3]])
    with torch.inference_mode():
        _, *maps = network.features(crops)
        *_, code = network.refinement(box, *maps)
    names = [f"map{index}" for index in range(len(maps))]
    known = {
        "network": (_Whole(network), {"crops_rgb": crops, "box": box}, [*_POSE, "landmarks68_crop"]),
        "features": (network.features, {"crops_rgb": crops}, ["landmarks68_crop", *names]),
        "refinement": (network.refinement, {"box": box, **dict(zip(names, maps, strict=True))}, _POSE),
        "landmarks": (network.landmarks, {"shape_code": code}, ["landmarks_head"]),
    }
    return [_convert(*known[part]) for part in parts]


class _Whole(nn.Module):
    """Features and refinement in one."""

    def __init__(self, network: DeployedTRG) -> None:
        super().__init__()
        self.features, self.refinement = network.features, network.refinement

    def forward(self, crops_rgb: Tensor, box: Tensor) -> tuple[Tensor, ...]:
        landmarks68_crop, *maps = self.features(crops_rgb)
        return *self.refinement(box, *maps), landmarks68_crop


def _convert(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers torch.export, which takes six times as long
        traced = torch.jit.trace(module, tuple(inputs.values()), check_trace=False)
    model = import_openvino().convert_model(traced)
    model.reshape({index: [-1, *tensor.shape[1:]] for index, tensor in enumerate(inputs.values())})
    for port, name in [*zip(model.inputs, inputs, strict=True), *zip(model.outputs, outputs, strict=True)]:
        port.get_tensor().set_names({name})
    return model
