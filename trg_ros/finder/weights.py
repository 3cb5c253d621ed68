"""The finder's file: half-precision weights, the network's configuration and a model card, in safetensors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from trg_ros.checkpoint_file import Tensors, read_tensors, write_atomically
from trg_ros.errors import CheckpointError, InputError
from trg_ros.finder.config import FinderConfig
from trg_ros.model.state import check_tensors

if TYPE_CHECKING:
    from trg_ros.finder.network import FinderNetwork

FORMAT_VERSION = 1
METADATA_KEY = "trg_ros_finder"
PACKAGED = Path(__file__).parent / "trg-finder.safetensors"


@dataclass(frozen=True, eq=False)
class FinderWeights:
    """What runs the finder. tensors: by name, float32, of a network whose batch normalisation is folded.
    card: what people should know about it."""

    config: FinderConfig
    tensors: Tensors
    card: dict[str, Any]

    def build_network(self) -> FinderNetwork:
        """The network in torch, ready to run on the CPU."""
        import torch

        from trg_ros.finder.network import FinderNetwork

        network = FinderNetwork(self.config).fused()
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self.tensors.items()})
        return network


def save_finder(path: Path, network: FinderNetwork, card: dict[str, Any]) -> None:
    """Write a network as trained; its batch normalisation is folded, its numbers are stored in half
    precision.

    :param card: what people should know about it; JSON.
    :raises CheckpointError: for numbers beyond half precision.
    """
    with np.errstate(over="ignore"):
        tensors = {k: value.numpy().astype(np.float16) for k, value in network.fused().state_dict().items()}
    wild = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if wild:
        raise CheckpointError(f"finder weights beyond half precision or not finite: {', '.join(wild)}")
    description = {"format_version": FORMAT_VERSION, "config": asdict(network.config), "card": card}
    text = json.dumps(description, allow_nan=False, sort_keys=True)
    write_atomically(path, save(tensors, {METADATA_KEY: text}))


def load_finder(path: Path | str = PACKAGED) -> FinderWeights:
    """Read and check a finder's file.

    :raises CheckpointError: when the file is missing, damaged, or of another kind or format.
    """
    path = Path(path)
    metadata, tensors = read_tensors(path)
    try:
        description = json.loads(metadata.get(METADATA_KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata is not valid JSON ({error})") from error
    if not isinstance(description, dict) or description.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: not finder weights of format {FORMAT_VERSION}; use the packaged file or update trg_ros"
        )
    config, card = (description.get(name) for name in ("config", "card"))
    try:
        known = FinderConfig.from_dict(config if isinstance(config, dict) else {})
        check_tensors(known.shapes(), tensors)
    except (InputError, CheckpointError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    arrays = {name: value.astype(np.float32) for name, value in tensors.items()}
    return FinderWeights(known, arrays, card if isinstance(card, dict) else {})
