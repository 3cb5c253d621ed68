"""Checking that a set of tensors is the state of the network one thinks it is, without building it.

Robots whose network is compiled already check their checkpoint with this, and never import torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trg_ros.errors import CheckpointError
from trg_ros.model.config import POSE_SIZE, TRGConfig
from trg_ros.model.topology import Topology

Shape = tuple[int, ...]

_NAMES_IN_A_MESSAGE = 6
_COUNTERS = "num_batches_tracked"  # of batch normalisations: the only integers of a state


def expected_state(config: TRGConfig, topology: Topology) -> dict[str, Shape]:
    """Names and shapes of the state of `trg_ros.model.network.TRG`.

    :raises InputError: when the topology does not fit the configuration.
    """
    topology.validate(config.num_landmarks, config.num_sampled)
    return dict(_shapes(config))


def check_tensors(expected: Mapping[str, Shape], actual: Mapping[str, NDArray[Any]]) -> None:
    """:raises CheckpointError: naming what is missing, extra, of another shape or type, or not finite."""
    shared = [name for name in expected if name in actual]
    complaints = {
        "missing": [name for name in expected if name not in actual],
        "extra": [name for name in actual if name not in expected],
        "of another shape": [
            f"{name} {_text(actual[name].shape)} instead of {_text(expected[name])}"
            for name in shared
            if actual[name].shape != expected[name]
        ],
        "of another type": [
            f"{name} {actual[name].dtype}"
            for name in shared
            if actual[name].dtype.kind != ("i" if name.endswith(_COUNTERS) else "f")
        ],
        "with NaN or infinity": [name for name in shared if not np.isfinite(actual[name]).all()],
    }
    found = [f"{len(names)} {what}: {_join(names)}" for what, names in complaints.items() if names]
    if found:
        raise CheckpointError("not the tensors of this network; " + "; ".join(found))


def _shapes(config: TRGConfig) -> Iterator[tuple[str, Shape]]:
    yield "initial_landmarks", (config.num_landmarks, 3)
    yield "initial_pose", (POSE_SIZE,)
    yield from _backbone(config)
    inputs = [config.backbone_widths[-1], *config.deconv_widths[:-1]]
    for level, (before, width) in enumerate(zip(inputs, config.deconv_widths, strict=True)):
        yield from _conv_norm(f"upsamplers.{level}", (before, width, 4, 4), width)
        if config.lateral_widths[level]:
            yield f"upsamplers.{level}.lateral.weight", (width, config.lateral_widths[level], 1, 1)
    for iteration in range(config.iterations):
        yield from _iteration(config, iteration)
    yield from _affine("heatmap_head.conv", 68, config.deconv_widths[config.heatmap_level], 1, 1)


def _backbone(config: TRGConfig) -> Iterator[tuple[str, Shape]]:
    before, kernel = config.backbone_widths[0], 7 if config.stem == "resnet" else 3
    yield from _conv_norm("backbone.stem", (before, 3, kernel, kernel), before)
    for stage, (width, blocks) in enumerate(zip(config.backbone_widths, config.backbone_blocks, strict=True)):
        for number in range(blocks):
            block = f"backbone.stages.{stage}.{number}"
            yield from _conv_norm(f"{block}.first", (width, before, 3, 3), width)
            yield from _conv_norm(f"{block}.second", (width, width, 3, 3), width)
            if before != width or (number == 0 and config.stage_stride(stage) > 1):
                yield from _conv_norm(f"{block}.shortcut", (width, before, 1, 1), width)
            before = width


def _iteration(config: TRGConfig, iteration: int) -> Iterator[tuple[str, Shape]]:
    channels = config.deconv_widths[config.map_level(iteration)]
    for layer, width in enumerate(config.point_feature_widths):
        before = channels + (config.point_feature_widths[layer - 1] if layer else 0)
        yield from _affine(f"point_features.{iteration}.layers.{layer}", width, before, 1)
    regressor, hidden = f"regressors.{iteration}", config.hidden_width
    yield from _affine(f"{regressor}.hidden.0", hidden, config.regressor_inputs(iteration))
    yield from _affine(f"{regressor}.hidden.1", hidden, hidden)
    if config.predicts_landmarks:
        yield from _affine(f"{regressor}.landmark_head", 3 * config.num_landmarks, hidden)
    yield from _affine(f"{regressor}.pose_head", POSE_SIZE, hidden)


def _conv_norm(name: str, kernel: Shape, outputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.conv.weight", kernel
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.norm.{part}", (outputs,)
    yield f"{name}.norm.{_COUNTERS}", ()


def _affine(name: str, outputs: int, *inputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (outputs, *inputs)
    yield f"{name}.bias", (outputs,)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _join(names: Iterable[str]) -> str:
    names = list(names)
    hidden = len(names) - _NAMES_IN_A_MESSAGE
    return ", ".join(names[:_NAMES_IN_A_MESSAGE]) + (f" and {hidden} more" if hidden > 0 else "")
