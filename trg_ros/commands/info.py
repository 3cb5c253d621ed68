"""`trg-headpose info`: what a checkpoint says about itself."""

import argparse
import json
from pathlib import Path
from typing import Any

from trg_ros.checkpoint import Checkpoint, default_checkpoint_path, load_checkpoint
from trg_ros.model_card import model_card, parameter_count, summary
from trg_ros.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="a .safetensors file (default: packaged)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything, as JSON")
    form.add_argument("--markdown", action="store_true", help="print a model card")


def main(args: argparse.Namespace) -> int:
    path = user_path(args.checkpoint) if args.checkpoint else default_checkpoint_path()
    checkpoint = load_checkpoint(path)
    if args.json:
        print(json.dumps(describe(path, checkpoint), indent=2))
    else:
        print((model_card if args.markdown else summary)(path, checkpoint), end="")
    return 0


def describe(path: Path, checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """The checkpoint in words and numbers, as plain JSON types."""
    topology = checkpoint.topology
    return {
        "file": {
            "path": str(path),
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "parameters": parameter_count(checkpoint),
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
