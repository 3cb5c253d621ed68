"""Where a network's maps start: a classifier's weights, or those of another network of ours."""

from __future__ import annotations

from pathlib import Path

import torch

from trg_ros.checkpoint import load_checkpoint
from trg_ros.errors import CheckpointError
from trg_ros.model.network import TRG

_MAP_PARTS = ("backbone", "upsamplers", "heatmap_head")


def load_backbone(model: TRG, path: Path) -> None:
    """Start from a ResNet-18 of torchvision (`resnet18-*.pth`): its convolutions and normalisations; or from
    a checkpoint of ours (`*.safetensors`): those of its maps and their 68 landmarks.

    :raises CheckpointError: when the file lacks a tensor or one has another shape.
    """
    if path.suffix == ".safetensors":
        _load_maps(model, path)
    else:
        _load_resnet18(model, path)


def _load_maps(model: TRG, path: Path) -> None:
    given, own = load_checkpoint(path).state_dict, model.state_dict()
    for name, value in own.items():
        if name.split(".")[0] in _MAP_PARTS:
            if name not in given or given[name].shape != value.shape:
                raise CheckpointError(f"{path}: {name} is missing or of another shape")
            value.copy_(given[name])


def _load_resnet18(model: TRG, path: Path) -> None:
    from trg_ros.release_import import tensor_names

    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it stumbles over
        raise CheckpointError(f"{path} is not a state dict of torchvision's resnet18: {error}") from error
    prefix, own = "feature_extractor.", model.state_dict()
    for theirs, ours in tensor_names(model.config):
        if not theirs.startswith(prefix):
            continue
        tensor = given.get(theirs.removeprefix(prefix))
        if tensor is None or tensor.shape != own[ours].shape:
            found = "is missing" if tensor is None else f"is {tuple(tensor.shape)}"
            raise CheckpointError(f"{path}: {theirs.removeprefix(prefix)} {found}; is it resnet18?")
        own[ours].copy_(tensor)
