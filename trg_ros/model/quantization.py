"""Post-training quantisation: the deployed network in 8-bit integers, where measurements allow it.

Convolutions compute in integers: weights with a scale per output channel (symmetric), activations, which are
never negative there, with one per layer (unsigned), which calibration crops decide. The first convolution
stays in float: it costs little and everything depends on it. The regressors' weights are stored as integers,
to be read in a quarter of the time, and multiplied in float; each kind of input has scales of its own, and
poses go in unrounded.

In torch this only simulates: a runtime that knows "fake quantisation" makes integers of it.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trg_ros.errors import CheckpointError
from trg_ros.model.config import POSE_SIZE
from trg_ros.model.deploy import DeployedFeatures, DeployedRefinement, DeployedTRG

Convolution = nn.Conv2d | nn.ConvTranspose2d

_LEVELS, LARGEST_WEIGHT = 255, 127
_LEAST_LARGEST = 112  # the least number of steps that the largest weight of an output may have
_STEM = "backbone.stem."
_CROPS, _VALUES = 25, 20_000  # at a time, and values that are kept of them for each layer
_CANDIDATES = np.linspace(0.3, 1.0, 36)  # of the largest value seen


def activation_peaks(network: DeployedTRG, crops_rgb: NDArray[np.uint8]) -> dict[str, float]:
    """By convolution, where its input saturates in 8 bits: the bound with the least squared error over what
    it reads on the calibration crops, from rounding below and clipping above.

    :param crops_rgb: (N, S, S, 3) as the network will see them; a few hundred are enough.
    """
    seen: dict[str, list[NDArray]] = {name: [] for name, _ in _convolutions(network.features)}

    def watch(name: str, layer: Convolution) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rng = np.random.default_rng(len(seen[name]))  # the same values for layers with the same input
            seen[name].append(rng.choice(inputs[0].numpy().ravel(), _VALUES))

        return layer.register_forward_pre_hook(note)

    hooks = [watch(name, layer) for name, layer in _convolutions(network.features)]
    with torch.inference_mode():
        for first in range(0, len(crops_rgb), _CROPS):
            network.features(torch.from_numpy(crops_rgb[first : first + _CROPS]))
    for hook in hooks:
        hook.remove()
    return {name: _best_peak(np.concatenate(values)) for name, values in seen.items()}


def quantised(network: DeployedTRG, peaks: Mapping[str, float]) -> DeployedTRG:
    """A copy that rounds as integers do; what makes all landmarks (`DeployedTRG.landmarks`) stays in float.

    :param peaks: as `activation_peaks` has them.
    :raises CheckpointError: for peaks of another network.
    """
    names = {name for name, _ in _convolutions(network.features)}
    if names != set(peaks):
        raise CheckpointError(f"activation peaks of {sorted(names ^ set(peaks))}: not those of this network")
    network = copy.deepcopy(network)
    for name, layer in list(_convolutions(network.features)):
        _replace(network.features, name, QuantisedConvolution(layer, peaks[name]))
    regressors = []
    for regressor, sizes in zip(network.refinement.regressors, _inputs(network.refinement), strict=True):
        first, *others = cast(nn.Sequential, regressor)
        rounded = [QuantisedLinear(layer) if isinstance(layer, nn.Linear) else layer for layer in others]
        regressors.append(nn.Sequential(SplitLinear(cast(nn.Linear, first), sizes), *rounded))
    network.refinement.regressors = nn.ModuleList(regressors)
    heads = [QuantisedLinear(cast(nn.Linear, head)) for head in network.refinement.heads]
    network.refinement.heads = nn.ModuleList(heads)
    return network


class QuantisedConvolution(nn.Module):
    """A convolution of non-negative input, both rounded to 8 bits."""

    def __init__(self, layer: Convolution, peak: float):
        super().__init__()
        self.layer = layer
        self.step = peak / _LEVELS
        self.weight = RoundedWeight(layer.weight, 1 if isinstance(layer, nn.ConvTranspose2d) else 0)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, self.step, 0, 0, _LEVELS)
        layer, weight = self.layer, self.weight()
        if isinstance(layer, nn.ConvTranspose2d):
            padding = cast(tuple[int, ...], layer.padding)
            return functional.conv_transpose2d(x, weight, layer.bias, layer.stride, padding)
        return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)


class QuantisedLinear(nn.Module):
    """A linear layer whose weights are rounded to 8 bits."""

    def __init__(self, layer: nn.Linear, with_bias: bool = True):
        super().__init__()
        self.weight = RoundedWeight(layer.weight, 0)
        self.bias = layer.bias if with_bias else None

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight(), self.bias)


class SplitLinear(nn.Module):
    """A linear layer as a sum of several, one for each kind of input; all but the last are rounded.

    :param sizes: of the inputs, in their order.
    """

    def __init__(self, layer: nn.Linear, sizes: list[int]):
        super().__init__()
        self.sizes = sizes
        parts = [_part(layer, weight) for weight in layer.weight.split(sizes, dim=1)]
        self.rounded = nn.ModuleList(QuantisedLinear(part, with_bias=False) for part in parts[:-1])
        self.exact = parts[-1]

    def forward(self, x: Tensor) -> Tensor:
        *inputs, last = x.split(self.sizes, dim=1)
        result = self.exact(last)
        for part, given in zip(self.rounded, inputs, strict=True):
            result = result + part(given)
        return cast(Tensor, result)


class RoundedWeight(nn.Module):
    """A layer's weights with 8 bits each, and a scale for each output."""

    weight: Tensor
    step: Tensor
    zero: Tensor

    def __init__(self, weight: Tensor, axis: int):
        super().__init__()
        step = _steps(weight.detach().transpose(0, axis).flatten(1))
        self.axis = axis
        self.register_buffer("weight", weight.detach())
        self.register_buffer("step", step)
        self.register_buffer("zero", torch.zeros(len(step), dtype=torch.int32))

    def forward(self) -> Tensor:
        return torch.fake_quantize_per_channel_affine(
            self.weight, self.step, self.zero, self.axis, -LARGEST_WEIGHT, LARGEST_WEIGHT
        )


def _steps(weight: Tensor) -> Tensor:
    """(R,) steps (scales) for the rows of weights (R, C): of a few candidates those with the least squared
    error, so that weights that were rounded before, to however many steps, stay what they are."""
    largest = weight.abs().amax(1).clamp(min=1e-12)
    steps = largest / torch.arange(LARGEST_WEIGHT, _LEAST_LARGEST - 1, -1, dtype=weight.dtype)[:, None]
    errors = [(weight - (weight / step[:, None]).round() * step[:, None]).square().sum(1) for step in steps]
    return steps.gather(0, torch.stack(errors).argmin(0, keepdim=True))[0]


def _convolutions(features: DeployedFeatures) -> Iterator[tuple[str, Convolution]]:
    """Those that compute in integers, by name."""
    for name, module in features.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and not name.startswith(_STEM):
            yield name, module


def _inputs(refinement: DeployedRefinement) -> Iterator[list[int]]:
    """How many numbers of each kind every regressor reads: point features, landmarks, pose and box."""
    for iteration, regressor in enumerate(refinement.regressors):
        total = cast(nn.Linear, cast(nn.Sequential, regressor)[0]).in_features
        landmarks = refinement.num_fed_back - POSE_SIZE if iteration else 0
        exact = refinement.config.box_feature_size + (POSE_SIZE if iteration else 0)
        yield [size for size in (total - landmarks - exact, landmarks, exact) if size]


def _part(layer: nn.Linear, weight: Tensor) -> nn.Linear:
    part = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    part.weight, part.bias = nn.Parameter(weight.detach().clone(), False), layer.bias
    return part


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)


def _best_peak(values: NDArray) -> float:
    largest = float(values.max())
    if largest <= 0:
        return 1.0  # a dead layer: anything will do
    errors = []
    for peak in largest * _CANDIDATES:
        step = peak / _LEVELS
        rounded = np.clip(np.round(values / step), 0, _LEVELS) * step
        errors.append(float(((rounded - values) ** 2).mean()))
    return float(largest * _CANDIDATES[int(np.argmin(errors))])
