"""The finder's file: half-precision weights, the network's configuration and a model card, in safetensors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from trg_ros.errors import CheckpointError, InputError
from trg_ros.finder.network import FinderConfig, FinderNetwork

FORMAT_VERSION = 1
METADATA_KEY = "trg_ros_finder"
PACKAGED = Path(__file__).parent / "trg-finder.safetensors"


def save_finder(path: Path, network: FinderNetwork, card: dict[str, Any]) -> None:
    """Write a network as trained; its batch normalisation is folded, its numbers are stored in half
    precision.

    :param card: what people should know about it; JSON.
    :raises CheckpointError: for numbers beyond half precision.
    """
    tensors = {name: value.half().contiguous() for name, value in network.fused().state_dict().items()}
    wild = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if wild:
        raise CheckpointError(f"finder weights beyond half precision or not finite: {', '.join(wild)}")
    description = {"format_version": FORMAT_VERSION, "config": asdict(network.config), "card": card}
    partial = path.with_suffix(".partial")
    text = json.dumps(description, allow_nan=False, sort_keys=True)
    partial.write_bytes(save(tensors, {METADATA_KEY: text}))
    partial.replace(path)


def load_finder(path: Path | str = PACKAGED) -> tuple[FinderNetwork, dict[str, Any]]:
    """The network, ready to run in float32 on the CPU, and its card.

    :raises CheckpointError: when the file is missing, damaged, or of another kind or format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"finder weights {path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
            tensors = {name: file.get_tensor(name).float() for name in names}
        description = json.loads(metadata.get(METADATA_KEY, "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or a damaged one ({error})") from error
    if not isinstance(description, dict) or description.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: not finder weights of format {FORMAT_VERSION}; use the packaged file or update trg_ros"
        )
    try:
        config = description.get("config")
        network = FinderNetwork(FinderConfig.from_dict(config if isinstance(config, dict) else {})).fused()
        network.load_state_dict(tensors)
    except (InputError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its tensors don't fit its configuration ({error})") from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise CheckpointError(f"{path}: it holds numbers that are not finite; get it again")
    card = description.get("card")
    return network, card if isinstance(card, dict) else {}
