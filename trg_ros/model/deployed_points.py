"""What an iteration reads of a feature map, as it is deployed: the function of `PointFeatures` in products of
matrices that leave every number where the next one wants it."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from trg_ros.model.network import TRG
from trg_ros.model.regressor import PointFeatures

#: Pixels of a map for each point, up to which it is a small one.
_SMALL = 4


def looking_iterations(model: TRG) -> list[int]:
    """Iterations that have to sample their map: those with point features that can be anything but zero, see
    `trg_ros.model.rounding.silenced`."""
    return [
        iteration
        for iteration, module in enumerate(model.point_features)
        if any(bool(parameter.any()) for parameter in cast(PointFeatures, module).layers[-1].parameters())
    ]


def levels_looked_at(model: TRG) -> list[int]:
    """Indices, ascending, of the upsampled maps that an iteration samples."""
    return sorted({model.config.map_level(iteration) for iteration in looking_iterations(model)})


def deployed_points(model: TRG, iterations: list[int]) -> "list[DeployedPoints]":
    """For each of these iterations; a small map is multiplied first, and where the points never change,
    sampling it is a product as well."""
    config, parts = model.config, list[DeployedPoints]()
    for iteration in iterations:
        module = model.point_features[iteration]
        points = cast(PointFeatures, module)
        fixed = iteration == 0 or config.sampling == "grid"
        stride = 2 ** (len(config.backbone_widths) + 1)
        size = -(-config.input_size // stride) * 2 ** (config.map_level(iteration) + 1)
        if fixed and 2 * size**2 <= config.grid_size**2:
            parts.append(DeployedGrid(points, model.grid.float(), size))
        elif not fixed and size**2 <= _SMALL * config.num_sampled:
            parts.append(DeployedSmallMap(points))
        else:
            parts.append(DeployedPoints(points))
    return parts


class DeployedPoints(nn.Module):
    """(N, C, H, W) and points (N, P, 2) in [-1, 1] -> (N, widths[-1] * P), channel-major.

    All reductions look at the raw sample: that is one product for all of them.
    """

    raw_bias: Tensor

    def __init__(self, points: PointFeatures):
        super().__init__()
        layers = [cast(nn.Conv1d, layer) for layer in points.layers]
        weights = [layer.weight[..., 0].float() for layer in layers]
        self.widths = [len(weight) for weight in weights]
        carried = [0, *self.widths[:-1]]  # inputs from the reduction before; the others are the raw sample
        self.raw = nn.Parameter(torch.cat([w[:, n:] for w, n in zip(weights, carried, strict=True)]))
        self.carried = nn.ParameterList(w[:, :n] for w, n in zip(weights[1:], carried[1:], strict=True))
        biases = [cast(Tensor, layer.bias).float() for layer in layers]
        self.register_buffer("raw_bias", torch.cat(biases)[:, None])
        self.activation = points.activation

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        sampled = functional.grid_sample(features.to(points.dtype), points[:, :, None], align_corners=True)
        return self.reduce(self.raw @ sampled[..., 0])

    def reduce(self, raw: Tensor) -> Tensor:
        """What all reductions see of the raw samples (N, sum of widths, P) -> (N, widths[-1] * P)."""
        running, *others = (raw + self.raw_bias).split(self.widths, dim=1)
        for weight, other in zip(self.carried, others, strict=True):
            running = weight @ functional.leaky_relu(running, 0.01) + other
        return self.activation(running).flatten(1)


class DeployedSmallMap(DeployedPoints):
    """The same for a map with few pixels: the reductions look at all of it before it is sampled.

    They read it with channels last, as convolutions leave it. To sample it first, a runtime would have to
    turn it round, which takes longer.
    """

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        pixels = features.to(self.raw.dtype).permute(0, 2, 3, 1).flatten(1, 2)
        raw = (self.raw @ pixels.transpose(1, 2)).unflatten(2, features.shape[2:])
        sampled = functional.grid_sample(raw, points[:, :, None], align_corners=True)
        return self.reduce(sampled[..., 0])


class DeployedGrid(DeployedPoints):
    """The same at points that never change: bilinear sampling is a constant matrix then.

    :param places: (1, P, 2) the points.
    :param size: H and W of the map.
    """

    sampling: Tensor

    def __init__(self, points: PointFeatures, places: Tensor, size: int):
        super().__init__(points)
        pixels = torch.eye(size * size).view(1, size * size, size, size)
        self.register_buffer(
            "sampling", functional.grid_sample(pixels, places[:, :, None], align_corners=True)[0, ..., 0]
        )

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        return self.reduce((self.raw @ features.to(self.raw.dtype).flatten(2)) @ self.sampling)
