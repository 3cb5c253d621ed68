"""`trg-headpose benchmark`: how fast it is here, as JSON, a page of tables and a plot."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

from trg_ros.arguments import at_least, positive
from trg_ros.benchmark.machine import describe_machine, load
from trg_ros.errors import DetectorError, DeviceError, InputError
from trg_ros.paths import user_path

_FACES = [0, 1, 2, 4, 10, 32]
_MOST_FACES = 256
_FACES_GPU = [0, 1, 2, 4, 8, 16, 32]  # with each of its graphs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", default="benchmark", help="where results go (%(default)s)")
    parser.add_argument("--checkpoint", metavar="FILE", help="a .safetensors checkpoint (default: packaged)")
    parser.add_argument("--photo", metavar="FILE", help="a photo with one face (default: scikit-image's)")
    parser.add_argument(
        "--backends", nargs="+", metavar="NAME", help="of the network (default: all that run here)"
    )
    parser.add_argument(
        "--device", default="cpu", help="where the network runs (%(default)s; backend cuda: on a GPU)"
    )
    parser.add_argument("--threads", type=at_least(1), default=1, help="of the network (%(default)s)")
    parser.add_argument("--one-core", action="store_true", help="keep everything but ROS on one core")
    parser.add_argument("--faces", nargs="+", type=at_least(0), metavar="N", help="numbers of faces")
    parser.add_argument("--sizes", nargs="+", choices=["VGA", "1080p"], default=["VGA", "1080p"])
    parser.add_argument(
        "--rounds", type=at_least(1), default=10, help="turns of five calls each (%(default)s)"
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="KIND=PATH",
        help="also measure mediapipe=PYTHON (an interpreter that has it), 3ddfa=CHECKOUT (3DDFA_V2; needs "
        "onnx to convert its weights, once) or trg-release=CHECKOUT (the paper's release; needs yacs and "
        "torchgeometry, changed as it says)",
    )
    parser.add_argument("--no-paper", action="store_true", help="without the paper's architecture")
    parser.add_argument("--ros", nargs="*", type=positive, metavar="HZ", help="through ROS, at these rates")
    parser.add_argument("--ros-seconds", type=positive, default=10.0, help="for each rate (%(default)s)")
    parser.add_argument("--label", help="what to call this machine (default: the CPU's name)")
    _add_architectures_arguments(parser)


def _add_architectures_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--architectures",
        nargs="+",
        metavar="FILE",
        help="only this: the cost of each of the networks in YAML files, and the errors of the trained ones",
    )
    parser.add_argument(
        "--held-out", metavar="DIR", help="rendered heads on which --architectures measures errors"
    )
    parser.add_argument(
        "--held-out-heads", type=at_least(1), default=2000, metavar="N", help="how many of them (%(default)s)"
    )


def main(args: argparse.Namespace) -> int:
    _check(args)
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from error
    cores = os.sched_getaffinity(0) if args.one_core else set()
    if args.one_core:
        os.sched_setaffinity(0, {max(cores)})
    try:
        report = _measure_architectures(args) if args.architectures else _measure(args, cores)
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
    return _write_architectures(report, out) if args.architectures else _write(report, out)


def _check(args: argparse.Namespace) -> None:
    if args.faces and max(args.faces) > _MOST_FACES:
        raise InputError(f"--faces {max(args.faces)}: it must be at most {_MOST_FACES}")
    if args.one_core and not hasattr(os, "sched_setaffinity"):
        raise InputError("--one-core: this system can't keep a process on one core; leave it out")
    for peer in args.peer:
        if "=" not in peer:
            raise InputError(
                f"--peer {peer}: give KIND=PATH, for instance mediapipe=/opt/mediapipe/bin/python"
            )


def _measure(args: argparse.Namespace, cores: set[int]) -> dict[str, Any]:
    """All measurements. Imports torch: only for when it is asked for."""
    from trg_ros.benchmark.peers import compare_with_peers
    from trg_ros.benchmark.scene import make_scene, read_photo
    from trg_ros.benchmark.stages import SIZES, StageBenchmark, find_face
    from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint

    checkpoint = load_checkpoint(args.checkpoint or default_checkpoint_path())
    photo = read_photo(args.photo)
    estimators = _estimators(args, checkpoint)
    face_box = find_face(next(iter(estimators.values())), photo)
    report = _circumstances(args, checkpoint)
    portrait = make_scene(photo, face_box, 1, SIZES["VGA"])
    peers = [(kind, location) for kind, _, location in (peer.partition("=") for peer in args.peer)]
    _tell("one tracked face, beside peers")
    report["peers"] = compare_with_peers(
        estimators, portrait, peers, args.rounds, args.threads, not args.no_paper
    )
    stages = StageBenchmark(estimators, photo, face_box, args.rounds)
    on_gpu = any(estimator.device != "cpu" for estimator in estimators.values())
    faces = args.faces or (_FACES_GPU if on_gpu else _FACES)
    report["stages"] = stages.run(faces, args.sizes, _tell)
    report["ros"] = []
    if args.ros is not None:
        if cores:
            os.sched_setaffinity(0, cores)
        report["ros"] = _measure_ros(args, portrait)
    report["load_after"] = load()
    return report


def _measure_architectures(args: argparse.Namespace) -> dict[str, Any]:
    from trg_ros.benchmark.architectures import CONDITIONS, measure_architectures
    from trg_ros.benchmark.candidates import read_candidates
    from trg_ros.benchmark.scene import make_scene, read_photo
    from trg_ros.benchmark.stages import SIZES, find_face
    from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint
    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.evaluation.rendered import HeldOutSet

    candidates = read_candidates(args.architectures)
    checkpoint = load_checkpoint(args.checkpoint or default_checkpoint_path())
    report = _circumstances(args, checkpoint)
    held_out = {}
    if args.held_out:
        root, count = user_path(args.held_out), args.held_out_heads
        held_out = {condition: HeldOutSet.load(root, count, condition) for condition in CONDITIONS}
        report["settings"]["held_out_heads"] = held_out[CONDITIONS[0]].count
    photo = read_photo(args.photo)
    face_box = find_face(HeadPoseEstimator.load(checkpoint, "cpu", "torch"), photo)
    scene = make_scene(photo, face_box, 1, SIZES["VGA"])
    report["architectures"] = measure_architectures(
        checkpoint, candidates, scene, held_out, args.rounds, args.threads
    )
    report["load_after"] = load()
    return report


def _circumstances(args: argparse.Namespace, checkpoint: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(args.label),
        "load_before": load(),
        "settings": {
            "checkpoint": checkpoint.info.name,
            "input_size": checkpoint.config.input_size,
            "device": args.device,
            "threads": args.threads,
            "one_core": args.one_core,
            "rounds": args.rounds,
        },
    }


def _estimators(args: argparse.Namespace, checkpoint: Any) -> dict[str, Any]:
    """By the name of the back end: those asked for, or all that can be had."""
    from trg_ros.backends import BACKENDS
    from trg_ros.estimator import HeadPoseEstimator

    estimators = {}
    for backend in args.backends or [name for name in BACKENDS if name != "auto"]:
        device = "cuda" if backend == "cuda" and args.device == "cpu" else args.device
        try:
            estimator = HeadPoseEstimator.load(checkpoint, device, backend, threads=args.threads)
        except DeviceError as error:
            if args.backends or backend == "torch":  # which runs wherever the device is
                raise
            _tell(f"without {backend}: {error}")
            continue
        try:
            _ = estimator.detector
        except DetectorError as error:
            _tell(f"without a detector: {error}")
            estimator = HeadPoseEstimator.load(checkpoint, device, backend, None, args.threads)
        name = estimator.backend_name
        estimators[f"{name} on {estimator.device}" if name in estimators else name] = estimator
    return estimators


def _measure_ros(args: argparse.Namespace, scene: Any) -> list[dict[str, Any]]:
    from trg_ros.benchmark.ros_latency import measure_ros

    arguments = [f"device:={args.device}", f"threads:={args.threads}"]
    if args.checkpoint:
        arguments.append(f"checkpoint:={Path(args.checkpoint).absolute()}")
    return measure_ros(scene, args.ros or [15.0, 30.0, 60.0], args.ros_seconds, arguments, _tell)


def _write(report: dict[str, Any], out: Path) -> int:
    from trg_ros.benchmark.report import markdown, plot

    page = markdown(report)
    (out / "benchmark.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "benchmark.md").write_text(page, encoding="utf-8")
    if not plot(report, out / "benchmark.png"):
        _tell("no plot: pip install matplotlib")
    print(page)
    return 0


def _write_architectures(report: dict[str, Any], out: Path) -> int:
    from trg_ros.benchmark.fronts import architectures_markdown, plot_architectures

    (out / "architectures.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if not plot_architectures(report, out / "architectures.png"):
        _tell("no plot: pip install matplotlib")
    print(architectures_markdown(report))
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
