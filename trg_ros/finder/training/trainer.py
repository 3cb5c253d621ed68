"""Training the finder on composed scenes; it can be killed at any time and goes on where its state is.

python -m trg_ros.finder.training.trainer --heads FOLDER:SHARE ... --photos FOLDER --out FOLDER --steps N
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from trg_ros.finder.network import FinderNetwork
from trg_ros.finder.training.backdrops import read_photos
from trg_ros.finder.training.scenes import (
    SMALLEST_SIDE,
    FinderScene,
    SceneComposer,
    SceneSettings,
)
from trg_ros.finder.training.targets import FinderTargets, finder_loss, make_targets
from trg_ros.synthetic.dataset import RenderedDataset
from trg_ros.training.state import WeightAverage, load_state, save_state

#: Every scene is used so often, each time changed a little and so many steps later: composing one costs more
#: than learning from it.
USES, AGAIN_AFTER = 4, 24
_SAVE_EVERY, _LOG_EVERY, _WARM_UP = 50, 50, 200


@dataclass(frozen=True)
class FinderTraining:
    """steps: of the whole run; the cosine ends there. batch: scenes a step, a quarter of them new.
    learning_rate: at the end of the warm-up."""

    steps: int = 6000
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 1


def varied(scene: FinderScene, rng: np.random.Generator) -> FinderScene:
    """The scene mirrored or not, a little larger or smaller, shifted, brighter or darker; black beyond its
    edges."""
    height, width = scene.image.shape[:2]
    scale, middle = math.exp(rng.normal() * 0.12), np.array([width - 1, height - 1]) / 2
    shift = middle * (1 - scale) + rng.uniform(-0.12, 0.12, 2) * [width, height]
    mirror = rng.random() < 0.5
    stretch = np.array([-scale if mirror else scale, scale])
    if mirror:
        shift[0] += scale * (width - 1)
    place = np.column_stack([np.diag(stretch), shift])
    image = cv2.warpAffine(scene.image, place, (width, height), flags=cv2.INTER_LINEAR)
    image = cv2.convertScaleAbs(image, alpha=rng.uniform(0.7, 1.3), beta=rng.uniform(0, 15))
    points = scene.points[:, [1, 0, 2, 4, 3]] if mirror else scene.points
    boxes = np.concatenate([scene.boxes[:, :2] * stretch + shift, scene.boxes[:, 2:] * scale], axis=1)
    inside = ((boxes[:, :2] >= 0) & (boxes[:, :2] <= 2 * middle)).all(axis=1)
    wanted = scene.wanted & inside & (boxes[:, 2] >= SMALLEST_SIDE)
    boxes, points = boxes.astype(np.float32), (points * stretch + shift).astype(np.float32)
    return FinderScene(image, boxes, points, wanted)


class SceneStream:
    """Batches of scenes, one part new ones, the others those of earlier steps, varied."""

    def __init__(self, composer: SceneComposer, config: FinderTraining, first: int) -> None:
        self._composer, self._config = composer, config
        self._recent: deque[list[FinderScene]] = deque(maxlen=(USES - 1) * AGAIN_AFTER)
        for step in range(max(0, first - (USES - 1) * AGAIN_AFTER), first):
            self._recent.append(self._new(step))

    def _new(self, step: int) -> list[FinderScene]:
        count = self._config.batch // USES
        return [self._composer.scene(self._config.seed, step * count + k) for k in range(count)]

    def batch(self, step: int) -> tuple[Tensor, FinderTargets]:
        """Images (N, H, W, 3) uint8 and targets; steps must be asked for in order."""
        scenes, rng = self._new(step), np.random.default_rng([self._config.seed, 3, step])
        old = [scene for part in list(self._recent)[-AGAIN_AFTER::-AGAIN_AFTER] for scene in part]
        self._recent.append(scenes)
        scenes = scenes + [varied(scene, rng) for scene in old]
        return torch.from_numpy(np.stack([scene.image for scene in scenes])), make_targets(scenes)


def rate_at(step: int, config: FinderTraining) -> float:
    """Learning rate: a linear warm-up, then a cosine down to 1/100."""
    if step < _WARM_UP:
        return config.learning_rate * (step + 1) / _WARM_UP
    done = min(1.0, (step - _WARM_UP) / max(1, config.steps - _WARM_UP))
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def train(composer: SceneComposer, config: FinderTraining, out: Path) -> FinderNetwork:
    """Train, or go on with what is in ``out``; returns the averaged network."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = FinderNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = WeightAverage(network, 0.998)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    state_path, first = out / "state.pt", 0
    if state_path.exists():
        state = load_state(state_path)
        network.load_state_dict(state["network"])
        average.model.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    stream, log = SceneStream(composer, config, first), _Log(out / "log.csv")
    sums: dict[str, float] = {}
    network.train()
    for step in tqdm(range(first, config.steps), initial=first, total=config.steps, mininterval=20):
        images, targets = stream.batch(step)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, config)
        loss, parts = finder_loss(network(images), targets)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        average.update(network, step)
        sums = {name: sums.get(name, 0.0) + part / _LOG_EVERY for name, part in parts.items()}
        if (step + 1) % _LOG_EVERY == 0:
            log.add(step + 1, sums)
            sums = {}
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == config.steps:
            _save(state_path, network, average, optimiser, step + 1)
    return average.model


def _save(
    path: Path,
    network: FinderNetwork,
    average: WeightAverage[FinderNetwork],
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    models = {"network": network.state_dict(), "average": average.model.state_dict()}
    save_state(path, {**models, "optimiser": optimiser.state_dict(), "step": step})


class _Log:
    """Loss parts as CSV, one row every ``_LOG_EVERY`` steps."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, step: int, parts: dict[str, float]) -> None:
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", *parts])
            writer.writerow([step, round(time.time()), *(f"{value:.4f}" for value in parts.values())])


def open_heads(names: Sequence[str]) -> list[tuple[RenderedDataset, float]]:
    """Data sets from "folder:share" or "folder:share:shards" texts."""
    heads = []
    for name in names:
        folder, share, *shards = name.split(":")
        dataset = RenderedDataset(Path(folder).expanduser(), int(shards[0]) if shards else None)
        heads.append((dataset, float(share)))
    return heads


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the face finder on composed scenes.")
    parser.add_argument("--heads", nargs="+", required=True, metavar="FOLDER:SHARE[:SHARDS]")
    parser.add_argument("--photos", type=Path, required=True, help="pictures without people")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=FinderTraining.steps)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 160), metavar=("WIDTH", "HEIGHT"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    width, height = given.size
    settings = SceneSettings(width, height, sides=(SMALLEST_SIDE - 1, 1.1 * height))
    composer = SceneComposer(open_heads(given.heads), read_photos(given.photos), settings)
    train(composer, FinderTraining(steps=given.steps), given.out)


if __name__ == "__main__":
    main()
