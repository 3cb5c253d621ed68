"""A network made ready for 8-bit weights, without changing what it says by more than it must.

Regressors read a thousand numbers that depend on each other. If their weights are rounded one input after
the other, the next ones can make up for what each loses (GPTQ, Frantar et al., 2023); then poses turn by a
third as much as with weights that are rounded to nearest. The network keeps the rounded weights: in float it
says the same as in integers, but for the convolutions.
"""

import copy
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trg_ros.model.config import POSE_SIZE
from trg_ros.model.network import TRG
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.model.quantization import LARGEST_WEIGHT, influence_of, rounded_in_turn
from trg_ros.model.regressor import PointFeatures, Regressor

_CROPS = 50  # at a time
_DAMPING = 0.1  # of the inputs' mean square is added to each: what few crops say is not all there is


def silenced(model: TRG, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> TRG:
    """A copy without dead point features: channels that are zero on all of these crops get zero weights.

    An iteration that has no others is blind: deployed, it neither samples its map nor computes it. Nothing
    is lost: what a channel that was never active would say one day, no regressor has learned to read.

    :param crops_rgb: (N, S, S, 3); boxes: (N, 3), as for `TRG.forward`.
    """
    model = copy.deepcopy(model).eval()
    answers = _watched(model, dict(model.point_features.named_children()), crops_rgb, boxes, outputs=True)
    with torch.no_grad():
        for iteration, answer in answers.items():
            points = cast(PointFeatures, model.point_features.get_submodule(iteration))
            last = cast(nn.Conv1d, points.layers[-1])
            dead = ~(answer.unflatten(1, (last.out_channels, -1)) != 0).any(dim=2).any(dim=0)
            last.weight[dead] = 0
            cast(Tensor, last.bias)[dead] = 0
            regressor = cast(Regressor, model.regressors.get_submodule(iteration))
            reads = cast(nn.Linear, regressor.hidden[0]).weight[:, : answer.shape[1]]
            reads.unflatten(1, (last.out_channels, -1))[:, dead] = 0
    return model


def with_rounded_regressors(model: TRG, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> TRG:
    """A copy whose regressors' weights have 8 bits, but for those that read poses, which stay as they are.

    :param crops_rgb: (N, S, S, 3), a thousand are enough; boxes: (N, 3), as for `TRG.forward`.
    """
    model = copy.deepcopy(model).eval()
    layers: dict[str, nn.Linear] = {}
    kinds: dict[str, list[int]] = {}
    for iteration, module in enumerate(model.regressors):
        regressor = cast(Regressor, module)
        for name, layer in regressor.named_modules():
            if isinstance(layer, nn.Linear):
                key = f"{iteration}.{name}"
                layers[key], kinds[key] = layer, [layer.in_features]
        exact = model.config.box_feature_size + POSE_SIZE
        landmarks = model.config.fed_back_size
        points = model.config.regressor_inputs(iteration) - landmarks - exact
        # The first landmarks never change: deployed, they are a bias.
        kinds[f"{iteration}.hidden.0"] = [points, landmarks] if iteration else [points]
    inputs = _watched(model, layers, crops_rgb, boxes)
    for name, layer in layers.items():
        _round(layer, inputs[name].double(), [size for size in kinds[name] if size])
    return model


@torch.no_grad()
def _round(layer: nn.Linear, inputs: Tensor, sizes: list[int]) -> None:
    """Round the weights of a layer in place, with steps for each output and kind of input.

    :param inputs: (N, I) float64, what it reads.
    :param sizes: of the kinds of input, which come first; the others' weights aren't rounded, but may change.
    """
    weight, mean = layer.weight.double(), inputs.mean(dim=0)
    kinds = weight[:, : sum(sizes)].split(sizes, dim=1)
    largest = torch.cat([kind.abs().amax(1, keepdim=True).expand_as(kind) for kind in kinds], dim=1)
    steps = largest.clamp(min=1e-12) / LARGEST_WEIGHT
    offsets = inputs - mean
    new = rounded_in_turn(weight, steps, influence_of(offsets.T @ offsets / len(offsets), _DAMPING))
    layer.bias.add_(((weight - new) @ mean).float())
    layer.weight.copy_(new)


@torch.inference_mode()
def _watched(
    model: TRG,
    modules: Mapping[str, nn.Module],
    crops_rgb: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    outputs: bool = False,
) -> dict[str, Tensor]:
    """What modules read (or what they answer) when the network sees crops, by the modules' names."""
    seen: dict[str, list[Tensor]] = {name: [] for name in modules}

    def watch(name: str) -> "torch.utils.hooks.RemovableHandle":
        def note(_: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
            seen[name].append(answer if outputs else given[0])

        return modules[name].register_forward_hook(note)

    hooks = [watch(name) for name in modules]
    for first in range(0, len(crops_rgb), _CROPS):
        part = slice(first, first + _CROPS)
        model(normalise_crops(torch.from_numpy(crops_rgb[part])), torch.from_numpy(boxes[part]))
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}
