"""`trg-headpose info`: what a checkpoint says about itself."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from trg_ros.checkpoint import Checkpoint, default_checkpoint_path, load_checkpoint
from trg_ros.paths import user_path

_LEARNED = (".weight", ".bias")
"""Tensors that training changes; the others are statistics and the initial state."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="a .safetensors file (default: packaged)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print a model card")


def main(args: argparse.Namespace) -> int:
    path = user_path(args.checkpoint) if args.checkpoint else default_checkpoint_path()
    checkpoint = load_checkpoint(path)
    if args.markdown:
        from trg_ros.model_card import model_card

        print(model_card(path, checkpoint), end="")
        return 0
    description = describe(path, checkpoint)
    if args.json:
        print(json.dumps(description, indent=2))
        return 0
    for section, values in description.items():
        print(f"{section}:")
        for name, value in values.items():
            print(f"  {name.replace('_', ' ')}: {_readable(value)}")
    return 0


def describe(path: Path, checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """The checkpoint in words and numbers, as plain JSON types."""
    topology = checkpoint.topology
    learned = (value for name, value in checkpoint.weights.items() if name.endswith(_LEARNED))
    return {
        "file": {
            "path": str(path),
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "parameters": sum(np.size(value) for value in learned),
        },
        "information": checkpoint.info.to_dict(),
        "network": checkpoint.config.to_dict(),
        "topology": {
            "triangles": len(topology.triangles),
            "edges": len(topology.edges),
            "sampled_landmarks": len(topology.sampled),
            "sellion": topology.sellion,
            "mirror_symmetric": topology.flip is not None,
        },
    }


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        lines = [f"\n    {name}: {_readable(entry)}" for name, entry in value.items()]
        return "".join(lines) or "not stated"
    if isinstance(value, list):
        return ", ".join(map(_readable, value))
    return "not stated" if value == "" else str(value)
