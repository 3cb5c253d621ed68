"""Layers folded into each other when a network is deployed: computed once, not with every crop.

Weights are folded in float64; the layers that come out are float32.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trg_ros.model.config import POSE_SIZE, TRGConfig
from trg_ros.model.regressor import Regressor

Module = TypeVar("Module", bound=nn.Module)
Affine = tuple[Tensor, Tensor]  # weight (outputs, inputs) and bias (outputs,), float64
POSE_ORDER = [0, 2, 4, 1, 3, 5, 6, 7, 8]  # of the pose in the state: the rotation's columns, s, tx, ty


def folded(module: Module) -> Module:
    """A copy in float32 with every batch normalisation in the convolution before it: same numbers, fewer
    passes."""
    module = copy.deepcopy(module).float().eval()
    for part in module.modules():
        conv, norm = getattr(part, "conv", None), getattr(part, "norm", None)
        if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)):
            part.conv = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
            part.norm = nn.Identity()
    return module


def folded_regressor(
    config: TRGConfig, regressor: Regressor, known_state: Tensor | None, looks: bool
) -> nn.Module:
    """[point features, what is fed back of the state, box feature] -> the last hidden layer.

    :param known_state: the state where it doesn't depend on the image: it becomes a bias, and no input.
    :param looks: whether there are point features.
    """
    first, second = (_affine(cast(nn.Linear, layer)) for layer in regressor.hidden)
    fed_back = 3 * config.num_sampled + POSE_SIZE
    known = config.fed_back_size + POSE_SIZE
    point_inputs = first[0].shape[1] - known - config.box_feature_size
    of_points, of_state, of_box = first[0].split([point_inputs, known, config.box_feature_size], dim=1)
    if not looks:
        of_points = of_points[:, :0]
    of_state = torch.cat([of_state[:, :-POSE_SIZE], of_state[:, -POSE_SIZE:][:, POSE_ORDER]], dim=1)
    of_state = functional.pad(of_state, (fed_back - known, 0))  # landmarks that it isn't told count nothing
    unit = torch.ones(fed_back, dtype=torch.float64)
    unit[:-POSE_SIZE] = config.landmark_scale
    of_state = of_state / unit
    if known_state is None:
        first = torch.cat([of_points, of_state, of_box], dim=1), first[1]
    else:
        bias = first[1] + of_state @ known_state[-fed_back:].double()
        first = torch.cat([of_points, of_box], dim=1), bias
    if isinstance(regressor.activation, nn.Identity):
        return nn.Sequential(*map(_linear, _multiply_out([first, second])))
    activation = regressor.activation
    return nn.Sequential(_linear(first), activation, _linear(second), activation)


def folded_heads(config: TRGConfig, regressor: Regressor, order: np.ndarray) -> nn.Module:
    """The last hidden layer -> residual of the state.

    :param order: the landmarks of the state, in its order.
    """
    weight, bias = _landmark_head(config, regressor)
    rows = (3 * torch.from_numpy(order)[:, None] + torch.arange(3)).flatten()
    pose_weight, pose_bias = (part[POSE_ORDER] for part in _affine(regressor.pose_head))
    weight = torch.cat([weight[rows] * config.landmark_scale, pose_weight])
    return _linear((weight, torch.cat([bias[rows] * config.landmark_scale, pose_bias])))


def folded_landmarks(
    config: TRGConfig, regressors: Sequence[Regressor], initial_landmarks: Tensor
) -> nn.Module:
    """The last hidden layers of all iterations, side by side -> coordinates (N, 3V) of all landmarks."""
    heads = [_landmark_head(config, regressor) for regressor in regressors]
    weight = config.landmark_scale * torch.cat([weight for weight, _ in heads], dim=1)
    bias = config.landmark_scale * torch.stack([bias for _, bias in heads]).sum(0)
    return _linear((weight, bias + initial_landmarks.flatten()))


def _landmark_head(config: TRGConfig, regressor: Regressor) -> Affine:
    """Its weights; zeros where no landmarks are predicted, so that they stay what they are."""
    head = regressor.landmark_head
    if head is not None:
        return _affine(head)
    rows = 3 * config.num_landmarks
    return torch.zeros(rows, config.hidden_width).double(), torch.zeros(rows).double()


def _multiply_out(layers: list[Affine]) -> list[Affine]:
    """Merge neighbours wherever the product has fewer numbers than its factors."""
    merged = layers[:1]
    for weight, bias in layers[1:]:
        before, bias_before = merged[-1]
        if weight.shape[0] * before.shape[1] < weight.numel() + before.numel():
            merged[-1] = weight @ before, weight @ bias_before + bias
        else:
            merged.append((weight, bias))
    return merged


def _affine(layer: nn.Linear) -> Affine:
    return layer.weight.double(), layer.bias.double()


def _linear(affine: Affine) -> nn.Linear:
    weight, bias = affine
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return layer
