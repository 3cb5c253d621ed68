"""`trg-headpose calibrate`: what a finished checkpoint needs for integers, and to know its errors."""

import argparse
import json
from pathlib import Path

from trg_ros.arguments import at_least
from trg_ros.errors import InputError
from trg_ros.paths import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .safetensors file")
    parser.add_argument(
        "--config", metavar="CONFIG.yaml", required=True, help="training data and how crops are made"
    )
    parser.add_argument(
        "--held-out", metavar="FOLDER", help="rendered heads of another seed (default: CONFIG's validation)"
    )
    parser.add_argument(
        "-n",
        type=at_least(1),
        default=20000,
        metavar="N",
        help="training crops to learn from (default 20000)",
    )
    parser.add_argument(
        "--held-out-samples",
        type=at_least(1),
        default=5000,
        metavar="N",
        help="half scale, half measure (5000)",
    )
    parser.add_argument("--out", metavar="FILE", help="where to write it (default: CHECKPOINT itself)")
    parser.add_argument(
        "--threads", type=at_least(1), default=1, help="CPU threads of the network (default 1)"
    )


def main(args: argparse.Namespace) -> int:
    from trg_ros.checkpoint import load_checkpoint, lossless_dtype, save_checkpoint
    from trg_ros.evaluation.rendered import HeldOutSet
    from trg_ros.training.config import load_training_config
    from trg_ros.training.uncertainty import MIN_SAMPLES, calibrate

    if min(args.n, args.held_out_samples) < MIN_SAMPLES:
        raise InputError(f"-n and --held-out-samples must be at least {MIN_SAMPLES}")
    checkpoint = load_checkpoint(args.checkpoint)
    config = load_training_config(args.config)
    folder = user_path(args.held_out or config.data.validation)
    held_out = HeldOutSet.load(folder, args.held_out_samples)
    calibrated = calibrate(checkpoint, config, held_out, args.n, args.threads)
    out = Path(args.out or args.checkpoint)
    save_checkpoint(out, calibrated, lossless_dtype(checkpoint.weights))
    measured = {name: calibrated.info.measured_errors[name] for name in ("int8", "calibration")}
    print(json.dumps({"checkpoint": str(out), **measured}, indent=2))
    return 0
