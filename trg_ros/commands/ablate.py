"""`trg-headpose ablate`: train the paper's variants alike and compare them in one table."""

import argparse
import logging
from pathlib import Path

HELP = "train variants of the network and compare them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN.yaml", help="base, tests and variants; see config/ablation/")
    parser.add_argument("--out", default="ablation", metavar="DIR", help="for ablation.md and ablation.json")
    parser.add_argument("--steps", type=int, metavar="N", help="train every variant for N steps")


def main(args: argparse.Namespace) -> int:
    from trg_ros.training.ablation import load_plan, run_plan, table
    from trg_ros.training.paper import distributed

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = load_plan(args.plan, args.steps)
    print(table(run_plan(plan, Path(args.out), distributed()[2])), end="")
    return 0
