"""Overfit 32 heads in one of the original formats, through the real loaders, recipe and losses.

    python test/overfit.py arkitface|300w-lp|biwi|synthetic [--steps N] [--heads FOLDER]

Writes the data set from heads that are known (synthetic: the first 32 of rendered shards), trains on it,
and prints the protocol's errors on the same 32 pictures, with the boxes that the loaders say.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dataset_fixtures import Truth, face, heads, write_300wlp, write_arkitface, write_biwi

from trg_ros.datasets.batches import Batch, MicroBatches
from trg_ros.datasets.boxes import write_boxes
from trg_ros.datasets.registry import open_dataset
from trg_ros.evaluation.protocol import NetworkPredictor, evaluate_dataset, summarise_protocol
from trg_ros.model.network import project_to_crop
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.training.paper import PaperTrainer, open_source
from trg_ros.training.paper_config import SourceConfig, paper_config_from_dict

COUNT = 32
FORMATS = ("arkitface", "300w-lp", "biwi", "synthetic")
SHOWN = ("mae_r", "ge", "tx", "ty", "tz", "mae_t", "add", "landmarks_mean")
MODEL: dict[str, Any] = {
    "input_size": 64, "stem": "compact", "backbone_widths": [16, 32, 64, 96], "backbone_blocks": [1, 1, 1, 1],
    "deconv_widths": [32, 32, 32], "point_feature_widths": [24, 16, 5], "num_sampled": 101, "grid_size": 10,
    "hidden_width": 192, "regressor_activation": "leaky_relu", "dropout": 0.0, "landmark_scale": 0.1,
}  # fmt: skip
# Nothing but the box moves: the loaders' boxes are cut to whole pixels, those of training are not.
RECIPE = {
    "roll_probability": 0.0, "flip_probability": 0.0, "center_jitter": 0.02, "size_jitter": 0.01,
    "colour": [0.0, 0.0, 0.0, 0.0], "patch_probability": 0.0,
}  # fmt: skip


class Cycled:
    """The first few micro-batches again and again."""

    def __init__(self, batches: MicroBatches, count: int) -> None:
        self._batches = list(batches.load(range(count)))

    def load(self, numbers: Sequence[int], workers: int = 0) -> Iterator[Batch]:
        return (self._batches[number % len(self._batches)] for number in numbers)


def write(name: str, root: Path, rendered: str) -> dict[str, Any]:
    """The training part of a configuration for data in a format, written below `root`."""
    if name == "synthetic":
        return {"data": [{"name": "synthetic", "root": rendered, "first": COUNT}]}
    known, size = heads(COUNT, seed=11), (480, 480)
    if name == "biwi":  # BIWI is for tests: the same heads of one shape are learned from ARKitFace's format
        known = [Truth(truth.camera_T_head, face()[0]) for truth in known]
        size = (658, 658)  # the focal length of BIWI's camera: spots of the same size
        write_biwi(root / "biwi", known)
    write_arkitface(root / "arkitface", known, "train", size)
    data = [{"name": "arkitface", "root": str(root / "arkitface")}]
    if name == "300w-lp":
        write_300wlp(root / "300w-lp", COUNT // 2, truths=known)
        return {"data": [*data, {"name": "300w-lp", "root": str(root / "300w-lp")}], "shares": [0, 1]}
    return {"data": data}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--distinct", type=int, default=16, help="batches that differ in their boxes")
    parser.add_argument("--heads", default="~/trg_training/data/train", help="rendered shards")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        overfit(args, Path(folder))


def overfit(args: argparse.Namespace, root: Path) -> None:
    raw = {
        "name": "overfit", "output": str(root / "run"), "workers": 0, "steps": args.steps,
        "model": {**MODEL, "num_landmarks": 433 if args.format == "synthetic" else 1220},
        "loss": {"rotation_loss": "frobenius"}, "augmentation": RECIPE, "learning_rate": 2e-3,
        "regressor_rate": 0.3, "drop_after": [18, 26], "batch_size": COUNT, "micro_batch": COUNT,
        "checkpoint_every": 10**6, **write(args.format, root, args.heads),
    }  # fmt: skip
    trainer = PaperTrainer(paper_config_from_dict(raw))
    trainer.batches = Cycled(trainer.batches, args.distinct)  # type: ignore[assignment]
    started = time.process_time()
    for step in range(args.steps // 4, args.steps + 1, args.steps // 4):
        loss = trainer.run(until=step)
        seconds = time.process_time() - started
        found = measure(args.format, root, trainer)
        print(f"step {step}, {seconds:.0f} s of one core, loss {loss:.4f}: {found}", flush=True)


def measure(name: str, root: Path, trainer: PaperTrainer) -> str:
    if name == "300w-lp":
        return measure_2d(trainer)
    dataset = trainer.dataset
    if name == "biwi":
        boxed = open_source(SourceConfig("arkitface", str(root / "arkitface"), "train"))
        camera = open_dataset("biwi", root / "biwi", boxes="mesh")[0].camera
        boxes = {}
        for index, sample in enumerate(boxed):
            to_biwi = np.array([camera.fx / sample.camera.fx, camera.fy / sample.camera.fy] * 2)
            moved = (sample.box - [sample.camera.cx, sample.camera.cy] * 2) * to_biwi
            boxes[f"01/frame_{index + 3:05d}_rgb.png"] = moved + [camera.cx, camera.cy] * 2
        write_boxes(root / "biwi" / "boxes.csv", boxes)
        dataset = open_dataset("biwi", root / "biwi")
    evaluation = evaluate_dataset(NetworkPredictor(trainer.checkpoint(), "cpu"), dataset)
    found = summarise_protocol(evaluation.errors)
    return "  ".join(f"{key} {found[key]:.2f}" for key in SHOWN if key in found)


def measure_2d(trainer: PaperTrainer) -> str:
    """Distances on the 32 pictures, of the 2D head's landmarks and of the projected dense ones, per cent of
    the box."""
    sure = replace(trainer.config, augmentation=replace(trainer.config.augmentation, center_jitter=0.0))
    crops, box, targets = next(
        MicroBatches(trainer.dataset, 1220, 64, COUNT, sure.augmentation, sure.seed).load([0])
    )
    trainer.model.eval()
    with torch.inference_mode():
        output = trainer.model(normalise_crops(crops), box, landmarks68=True)[-1]
    trainer.model.train()
    chosen = output.landmarks_camera[:, torch.from_numpy(trainer.topology.landmarks68)]
    found = {"2D head": output.landmarks68_crop, "projected": project_to_crop(chosen, box)}
    return "  ".join(
        f"{name} {50 * (points - targets.landmarks68_crop).norm(dim=-1).mean():.2f} % of the box"
        for name, points in found.items()
        if points is not None
    )


if __name__ == "__main__":
    main()
