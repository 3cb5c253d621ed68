"""`trg-headpose ablate`: train the paper's variants alike and compare them in one table."""

import argparse
import logging
from pathlib import Path

from trg_ros.arguments import at_least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("plan", nargs="?", metavar="PLAN.yaml", help="base, tests and variants of your own")
    what.add_argument("--data", choices=["synthetic"], help="the paper's variants on rendered heads")
    parser.add_argument("--train", metavar="FOLDER", help="training data, instead of the plan's folder")
    parser.add_argument("--held-out", metavar="FOLDER", help="test data, instead of the plan's folder")
    parser.add_argument("--out", default="ablation", metavar="DIR", help="for ablation.md, .json and .png")
    parser.add_argument("--steps", type=at_least(1), metavar="N", help="train every variant for N steps")
    parser.add_argument("--seed", type=at_least(0), metavar="N", help="of weights, order and augmentation")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TITLE", help="these variants, and the first (repeat)"
    )


def main(args: argparse.Namespace) -> int:
    from trg_ros.training.ablation import PLANS, load_plan, run_plan, table, with_folders
    from trg_ros.training.trainer import choose_device

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    path = args.plan or PLANS / f"{args.data}.yaml"
    plan = with_folders(load_plan(path, args.steps, args.seed, args.only), args.train, args.held_out)
    print(table(run_plan(plan, Path(args.out), str(choose_device("auto")))), end="")
    return 0
