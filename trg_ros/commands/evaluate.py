"""`trg-headpose evaluate`: measure a checkpoint on labelled data."""

import argparse
import json
from pathlib import Path
from typing import Any

from trg_ros.errors import InputError

HELP = "measure a checkpoint on a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", choices=["synthetic"], required=True, help="synthetic: held-out rendered heads"
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="a .safetensors file (default: packaged)")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="rendered data set; made there from --face-model when it does not exist",
    )
    parser.add_argument("--face-model", metavar="FILE", help="packed ICT-FaceKit model, to render the set")
    parser.add_argument("-n", type=int, default=5000, metavar="N", help="number of heads (default 5000)")
    parser.add_argument(
        "--condition", choices=["hard", "clean"], default="hard", help="pixel effects and sloppy boxes"
    )
    parser.add_argument("--size", type=int, metavar="PX", help="input size (default: the checkpoint's)")


def main(args: argparse.Namespace) -> int:
    from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint
    from trg_ros.evaluation.rendered import HELD_OUT_SEED, HeldOutSet
    from trg_ros.synthetic.generate import generate
    from trg_ros.training.packaging import measure

    if args.data is None:
        raise InputError("--data FOLDER is missing: where the held-out rendered set is, or is to be made")
    folder = Path(args.data).expanduser()
    if not any(folder.glob("shard_*")):
        if args.face_model is None:
            raise InputError(f"no rendered shards in {folder}; give --face-model to render them there")
        generate(args.face_model, folder, HELD_OUT_SEED, args.n)
    path = Path(args.checkpoint) if args.checkpoint else default_checkpoint_path()
    checkpoint = load_checkpoint(path)
    held_out = HeldOutSet.load(folder, args.n, args.condition)
    result: dict[str, Any] = {"checkpoint": str(path), "condition": args.condition}
    result |= measure(checkpoint.build_model(), held_out, args.size or checkpoint.config.input_size)
    print(json.dumps(result, indent=2))
    return 0
