"""Post-training quantisation: the deployed network in 8-bit integers, where measurements allow it.

Convolutions compute in integers: weights with a scale per output channel (symmetric), activations, which are
never negative there, with one per layer (unsigned), which calibration crops decide. The first convolution
reads the crops' bytes as they are; its weights are rounded so that pictures, not noise, look the same to it,
as everything depends on it. The regressors' weights are stored as integers,
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
from trg_ros.model.config import IMAGE_MEAN, POSE_SIZE
from trg_ros.model.deploy import DeployedFeatures, DeployedRefinement, DeployedTRG

Convolution = nn.Conv2d | nn.ConvTranspose2d

_LEVELS, LARGEST_WEIGHT = 255, 127
_LEAST_LARGEST = 112  # the least number of steps that the largest weight of an output may have
_STEM = "backbone.stem."
#: Correlations of neighbouring pixels and of colours at a place, about those of our crops.
_NEIGHBOURS, _COLOURS, _PICTURE_DAMPING = 0.97, 0.85, 1e-3
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
    stem = network.features.backbone.stem
    network.border = cast(tuple[int, ...], stem.conv.padding)[0]
    network.features.colours = Bytes()
    stem.conv = QuantisedStem(stem.conv)  # type: ignore[assignment]
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


class Bytes(nn.Module):
    """Crops (N, S, S, 3) uint8 -> (N, 3, S, S), the same numbers; as a rounding that has nothing to do, which
    tells a runtime that they are integers."""

    def forward(self, crops_rgb: Tensor) -> Tensor:
        crops = crops_rgb.float().permute(0, 3, 1, 2)
        return torch.fake_quantize_per_tensor_affine(crops, 1.0, 0, 0, _LEVELS)


class QuantisedStem(nn.Module):
    """The first convolution, of bytes instead of offsets from the mean colour: that is part of the bias, and
    what was padding is a border of the crops (`DeployedTRG.bordered`)."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.stride = layer.stride
        self.weight = RoundedWeight(layer.weight, 0)
        self.weight.round_in_turn(_picture_influence(layer.weight.shape[2]))
        mean = 255 * torch.tensor(IMAGE_MEAN)
        bias = cast(Tensor, layer.bias) - (self.weight().sum((2, 3)) * mean).sum(1)
        self.bias = nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight(), self.bias, self.stride)


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

    def round_in_turn(self, influence: Tensor) -> None:
        """Round the weights now, see :func:`rounded_in_turn`; the first axis is that of the outputs."""
        weight = self.weight.double().flatten(1)
        steps = self.step.double()[:, None].expand_as(weight)
        self.weight = rounded_in_turn(weight, steps, influence).view_as(self.weight).float()

    def forward(self) -> Tensor:
        return torch.fake_quantize_per_channel_affine(
            self.weight, self.step, self.zero, self.axis, -LARGEST_WEIGHT, LARGEST_WEIGHT
        )


def rounded_in_turn(weight: Tensor, steps: Tensor, influence: Tensor) -> Tensor:
    """Weights (R, I) in which the inputs that ``steps`` (R, C <= I) are given for are rounded one after the
    other, and the next ones, rounded or not, make up for what each loses (GPTQ, Frantar et al., 2023).

    :param influence: see :func:`influence_of`; all float64.
    """
    new = weight.clone()
    for column in range(steps.shape[1]):
        step, wanted = steps[:, column], new[:, column].clone()
        new[:, column] = (wanted / step).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) * step
        error = (wanted - new[:, column]) / influence[column, column]
        new[:, column + 1 :] -= error[:, None] * influence[column, column + 1 :]
    return new


def influence_of(squares: Tensor, damping: float) -> Tensor:
    """(I, I) upper triangular: how the weights of later inputs make up for those of earlier ones.

    :param squares: (I, I) the inputs' mean products; damping: part of their mean that is added to squares.
    """
    squares = squares.clone()
    squares.diagonal().add_(damping * squares.diagonal().mean().clamp(min=1e-12))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(squares))
    return torch.linalg.cholesky(inverse, upper=True)


def _picture_influence(kernel: int) -> Tensor:
    """The same for a convolution of pictures, whose colours and neighbouring pixels say nearly the same."""
    places = torch.cartesian_prod(*[torch.arange(kernel, dtype=torch.float64)] * 2)
    pixels = _NEIGHBOURS ** torch.cdist(places, places)
    colours = torch.full((3, 3), _COLOURS, dtype=torch.float64).fill_diagonal_(1.0)
    return influence_of(torch.kron(colours, pixels), _PICTURE_DAMPING)


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
