"""From torch to OpenVINO: needed once for each checkpoint; from then on the cache has it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from trg_ros.backends.openvino_backend import PARTS, import_openvino
from trg_ros.checkpoint import Checkpoint
from trg_ros.model.deploy import DeployedTRG
from trg_ros.model.quantization import quantised


def convert(checkpoint: Checkpoint, integers: bool = False) -> list[Any]:
    """The network's parts as OpenVINO models with a dynamic batch.

    :param integers: make 8-bit integers of weights and activations; the checkpoint has to have peaks.
    """
    network = DeployedTRG(checkpoint.build_model())
    if integers:
        network = quantised(network, checkpoint.activation_peaks or {})
    size = checkpoint.config.input_size
    crops = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    box = torch.tensor([[0.0, 0.0, 0.2], [0.1, 0.1, 0.3]])
    with torch.inference_mode():
        _, *maps = network.features(crops)
        *_, code = network.refinement(box, *maps)
    inputs = [crops], [box, *maps], [code]
    return [_convert(getattr(network, part), given) for part, given in zip(PARTS, inputs, strict=True)]


def _convert(module: nn.Module, inputs: list[torch.Tensor]) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers torch.export, which takes six times as long
        traced = torch.jit.trace(module, tuple(inputs), check_trace=False)
    model = import_openvino().convert_model(traced)
    model.reshape({index: [-1, *tensor.shape[1:]] for index, tensor in enumerate(inputs)})
    return model
