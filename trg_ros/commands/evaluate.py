"""`trg-headpose evaluate`: measure a checkpoint on labelled data."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trg_ros.arguments import at_least, positive
from trg_ros.datasets.registry import add_dataset_arguments
from trg_ros.errors import InputError
from trg_ros.paths import user_path

if TYPE_CHECKING:
    from trg_ros.checkpoint import Checkpoint
    from trg_ros.datasets.sample import HeadDataset
    from trg_ros.evaluation.rendered import HeldOutSet


_RENDERED = {"data", "face_model", "n", "condition"}
_PROTOCOL = {"data", "out", "pose_source", "every"}
_OPTIONS = {
    "synthetic without --out": _RENDERED | {"size"},
    "synthetic with --out": _RENDERED | _PROTOCOL,
    "sequences": {"face_model", "people", "seconds", "seed"},
    "arkitface": _PROTOCOL | {"split", "assets"},
    "biwi": _PROTOCOL | {"boxes"},
}
"""What counts for which data set, beside what always does."""
_ALWAYS = {"command", "dataset", "checkpoint", "device"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        choices=["synthetic", "sequences", "arkitface", "biwi"],
        required=True,
        help="synthetic: held-out rendered heads; sequences: identities of rendered people who walk about",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="a .safetensors file (default: packaged)")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="the data set; rendered heads are made there from --face-model when there are none",
    )
    parser.add_argument("--face-model", metavar="FILE", help="packed ICT-FaceKit model, to render the set")
    parser.add_argument("--device", default="auto", help='"auto", "cpu" or "cuda:N"')
    _add_rendered_arguments(parser.add_argument_group("synthetic"))
    sequences = parser.add_argument_group("sequences (with --face-model)")
    sequences.add_argument("--people", type=at_least(1), default=3, metavar="N", help="how many (default 3)")
    sequences.add_argument(
        "--seconds", type=positive, default=120.0, metavar="S", help="how long (default 120)"
    )
    sequences.add_argument("--seed", type=at_least(0), default=0, help="who they are and where they go")
    protocol = parser.add_argument_group("the paper's protocol (synthetic: with --out)")
    protocol.add_argument("--out", metavar="DIR", help="write report.json, report.md, plots and worst cases")
    protocol.add_argument(
        "--pose-source", choices=["trg", "pnp"], default="trg", help="pnp: the baseline, landmarks then PnP"
    )
    protocol.add_argument("--every", type=at_least(1), default=1, metavar="K", help="only every K-th sample")
    add_dataset_arguments(protocol)


def _add_rendered_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-n", type=at_least(1), default=5000, metavar="N", help="number of heads (default 5000)"
    )
    group.add_argument(
        "--condition",
        choices=["hard", "settled", "tracked", "clean"],
        default="hard",
        help="hard: pixel effects and sloppy boxes; settled: pixel effects, and boxes and virtual cameras as "
        "second looks have them; tracked: as trackers have them; clean: neither",
    )
    group.add_argument(
        "--size",
        type=at_least(32),
        metavar="PX",
        help="input size, without --out (default: the checkpoint's)",
    )


def main(args: argparse.Namespace) -> int:
    from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint

    _refuse_what_does_not_count(args)
    if args.dataset == "sequences":
        return _run_sequences(args)
    if args.data is None:
        raise InputError("--data FOLDER is missing: where the data set is, or is to be rendered")
    path = Path(args.checkpoint) if args.checkpoint else default_checkpoint_path()
    checkpoint = load_checkpoint(path)
    if args.dataset != "synthetic" or args.out:
        return _run_protocol(args, path, checkpoint)
    from trg_ros.training.packaging import measure

    size = replace(checkpoint.config, input_size=args.size or checkpoint.config.input_size).input_size
    held_out = _held_out(args)
    result: dict[str, Any] = {"checkpoint": str(path)}
    result |= measure(checkpoint.build_model(), held_out, size)
    result["calibration"] = _calibration(checkpoint, held_out, args.device)
    print(json.dumps(result, indent=2))
    return 0


def _refuse_what_does_not_count(args: argparse.Namespace) -> None:
    """:raises InputError: for an option that would be ignored."""
    what = args.dataset
    if what == "synthetic":
        what += " with --out" if args.out else " without --out"
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name, value in vars(args).items():
        if name not in _OPTIONS[what] | _ALWAYS and value != parser.get_default(name):
            option = "-n" if name == "n" else f"--{name.replace('_', '-')}"
            raise InputError(f"{option} has no meaning for --dataset {what}; leave it out")


def _run_sequences(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.evaluation.rendered_sequences import RenderedCrowd, follow
    from trg_ros.tracking import HeadTracker

    if args.face_model is None:
        raise InputError("--face-model FILE is missing: the packed ICT-FaceKit model, to render people")
    crowd = RenderedCrowd.load(args.face_model, args.people, args.seed)
    tracker = HeadTracker(HeadPoseEstimator.load(args.checkpoint, device=args.device))
    account = follow(tracker, crowd, args.seconds, progress=tqdm)
    result = {"people": args.people, "seconds": args.seconds, "seed": args.seed}
    print(json.dumps(result | account.summary(), indent=2))
    return 0


def _held_out(args: argparse.Namespace) -> "HeldOutSet":
    from trg_ros.evaluation.rendered import HELD_OUT_SEED, HeldOutSet
    from trg_ros.synthetic.generate import generate

    folder = user_path(args.data)
    if not any(folder.glob("shard_*")):
        if args.face_model is None:
            raise InputError(f"no rendered shards in {folder}; give --face-model to render them there")
        generate(args.face_model, folder, HELD_OUT_SEED, args.n)
    return HeldOutSet.load(folder, args.n, args.condition)


def _calibration(checkpoint: "Checkpoint", held_out: "HeldOutSet", device: str) -> dict[str, Any]:
    """How true the covariances are, whether learned or the checkpoint's constants."""
    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.evaluation.calibration import calibration_report, held_out_looks

    looks = held_out_looks(HeadPoseEstimator.load(checkpoint, device, detector=None), held_out)
    return {name: calibration_report(some, checkpoint) for name, some in looks.items()}


def _run_protocol(args: argparse.Namespace, path: Path, checkpoint: "Checkpoint") -> int:
    from tqdm import tqdm

    from trg_ros.datasets.registry import open_dataset
    from trg_ros.evaluation.held_out import HeldOutHeads
    from trg_ros.evaluation.protocol import NetworkPredictor, evaluate_dataset
    from trg_ros.evaluation.report import markdown_table, write_report

    if args.out and Path(args.out).is_file():  # said now, not after hours
        raise InputError(f"--out {args.out} is a file; give a folder")
    predict = NetworkPredictor(checkpoint, args.device, args.pose_source)
    dataset: HeadDataset
    if args.dataset == "synthetic":
        config = checkpoint.config
        dataset = HeldOutHeads(_held_out(args), config.input_size, config.second_look_scale)
    else:
        dataset = open_dataset(args.dataset, args.data, args.split, args.boxes, args.assets)
    chosen = dataset[:: args.every]
    evaluation = evaluate_dataset(predict, chosen, progress=tqdm)
    if args.out:
        write_report(Path(args.out), evaluation, chosen, str(path), args.pose_source)
    print(markdown_table(evaluation, f"{path.name} ({args.pose_source})"), end="")
    return 0
