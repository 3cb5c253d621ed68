"""`trg-headpose train`: train a network as a YAML file says; goes on where a killed run stopped."""

import argparse
import json
import logging
from pathlib import Path

HELP = "train a network, or go on training it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help="see config/train/ and docs/training.md")
    parser.add_argument("--until", type=int, metavar="STEP", help="stop at this step (resumable)")
    parser.add_argument(
        "--package", metavar="FILE", help="only write the averaged weights so far as a checkpoint"
    )
    parser.add_argument(
        "--version", dest="weights_version", default="1", help="version that --package writes"
    )


def main(args: argparse.Namespace) -> int:
    from trg_ros.training.config import load_training_config
    from trg_ros.training.packaging import package
    from trg_ros.training.trainer import Trainer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = load_training_config(args.config)
    out = (
        Path(args.package)
        if args.package
        else Path(config.output).expanduser() / f"{config.name}.safetensors"
    )
    if not args.package:
        trainer = Trainer(config)
        trainer.run(args.until)
        if trainer.step < config.optimisation.steps:
            return 0
    measured = package(config, out, args.weights_version)
    print(json.dumps({"checkpoint": str(out), "measured_errors": measured}, indent=2))
    return 0
