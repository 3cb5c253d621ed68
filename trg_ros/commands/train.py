"""`trg-headpose train`: train a network as a YAML file says; goes on where a killed run stopped."""

import argparse
import json
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from trg_ros.arguments import at_least
from trg_ros.errors import InputError

if TYPE_CHECKING:
    from trg_ros.training.trainer import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help="see config/train/ and docs/training.md")
    parser.add_argument("--until", type=at_least(1), metavar="STEP", help="stop at this step (resumable)")
    parser.add_argument(
        "--package", metavar="FILE", help="only write the averaged weights so far as a checkpoint"
    )
    parser.add_argument(
        "--version", dest="weights_version", default="1", help="version that --package writes"
    )
    parser.add_argument("--note", default="", help="how the weights came about, for their model card")


def main(args: argparse.Namespace) -> int:
    from trg_ros.training.config import load_training_config
    from trg_ros.training.packaging import package
    from trg_ros.training.paper_config import read_recipe
    from trg_ros.training.trainer import Trainer

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = read_recipe(args.config)
    if recipe is not None:
        return _train_as_the_paper(args, recipe)
    config = load_training_config(args.config)
    out = (
        Path(args.package)
        if args.package
        else Path(config.output).expanduser() / f"{config.name}.safetensors"
    )
    if not args.package:
        trainer = Trainer(config)
        with signals_stop(trainer):
            trainer.run(args.until)
        if trainer.step < config.optimisation.steps:
            return 0
    measured = package(config, out, args.weights_version, args.note)
    print(json.dumps({"checkpoint": str(out), "measured_errors": measured}, indent=2))
    return 0


@contextmanager
def signals_stop(trainer: "Trainer") -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run, saved, after the step at hand; a second one ends it at once."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, previous[signal.Signals(number)])
        trainer.stop()

    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _train_as_the_paper(args: argparse.Namespace, recipe: dict[str, Any]) -> int:
    """`recipe: paper`, alone or as one of torchrun's processes."""
    from trg_ros.training.paper import PaperTrainer, distributed
    from trg_ros.training.paper_config import paper_config_from_dict

    if args.package:
        raise InputError("--package is not for `recipe: paper`, which writes a checkpoint with every state")
    config = paper_config_from_dict(recipe, args.config)
    with distributed() as (rank, world, device):
        trainer = PaperTrainer(config, rank, world, device)
        loss = trainer.run(args.until)
        if rank == 0:
            path = trainer.output / f"{config.name}.safetensors"
            result = {"checkpoint": str(path), "step": trainer.step, "loss": loss}
            print(json.dumps({**result, "validation": trainer.evaluate()}, indent=2))
    return 0
