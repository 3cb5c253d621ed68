"""What the finder's network should answer for a scene, and how wrong an answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trg_ros.finder.config import CENTER, CHANNELS, HEAT, LOG_SIDE, POINTS, STRIDE
from trg_ros.finder.training.scenes import FinderScene

#: Standard deviation of a face's heat, in box sides; at least ``_LEAST_SIGMA`` cells.
_SIGMA, _LEAST_SIGMA = 0.08, 0.55
#: Cells with at least this heat answer for the face's box.
_ANSWERING = 0.35


@dataclass(frozen=True)
class FinderTargets:
    """heat: (N, H, W), 1 at faces' centres. cared: (N, H, W), 0 where any heat is right. values: (N, 14, H,
    W) the map's other channels (channel 0 is unused). weight: (N, H, W), how much a cell's values count; sums
    to 1 per face."""

    heat: Tensor
    cared: Tensor
    values: Tensor
    weight: Tensor


def cell_centers(height: int, width: int) -> np.ndarray:
    """(H, W, 2) x, y in px of the image, of the middles of the map's cells."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y], axis=-1) * STRIDE + (STRIDE - 1) / 2


def make_targets(scenes: Sequence[FinderScene]) -> FinderTargets:
    """Targets of a batch of scenes of one size, a multiple of the stride."""
    parts = [_scene_targets(scene) for scene in scenes]
    return FinderTargets(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*parts, strict=True)))


def _scene_targets(scene: FinderScene) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    height, width = (length // STRIDE for length in scene.image.shape[:2])
    centers = cell_centers(height, width)
    heat, cared = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    values, owner = np.zeros((CHANNELS, height, width), np.float32), np.full((height, width), -1)
    strongest = np.zeros((height, width), np.float32)
    for k, (box, points) in enumerate(zip(scene.boxes, scene.points, strict=True)):
        way = centers - box[:2]
        if not scene.wanted[k]:
            cared[np.abs(way).max(axis=-1) < max(0.35 * box[2], STRIDE)] = 0
            continue
        sigma = max(_SIGMA * box[2], _LEAST_SIGMA * STRIDE)
        glow = np.exp(-(way**2).sum(axis=-1) / (2 * sigma**2)).astype(np.float32)
        glow[np.unravel_index(np.argmax(glow), glow.shape)] = 1
        heat = np.maximum(heat, glow)
        mine = (glow >= _ANSWERING) & (glow > strongest)
        strongest = np.where(mine, glow, strongest)
        owner[mine] = k
        offsets = (points[None, None] - centers[:, :, None]) / box[2]
        values[CENTER, mine] = (-way[mine] / box[2]).T
        values[LOG_SIDE, mine] = np.log(box[2] / STRIDE)
        values[POINTS, mine] = offsets[mine].reshape(-1, 10).T
    cared[heat >= _ANSWERING] = 1
    weight = np.zeros((height, width), np.float32)
    for k in np.unique(owner[owner >= 0]):
        weight[owner == k] = strongest[owner == k] / strongest[owner == k].sum()
    return heat, cared, values, weight


def finder_loss(output: Tensor, targets: FinderTargets) -> tuple[Tensor, dict[str, float]]:
    """Loss of a map (N, 14, H, W), and its parts: penalty-reduced focal loss of the heat, and the mean
    absolute errors of centre, log side and points per face."""
    logit = output[:, HEAT]
    heat, faces = torch.sigmoid(logit), targets.weight.sum().clamp(min=1)
    peak = (targets.heat == 1) & (targets.cared > 0)
    found = (1 - heat) ** 2 * functional.logsigmoid(logit) * peak
    wrong = (1 - targets.heat) ** 4 * heat**2 * functional.logsigmoid(-logit) * ~peak * targets.cared
    heat_loss = -(found.sum() + wrong.sum()) / faces
    error = (output - targets.values).abs() * targets.weight[:, None]
    center, side = error[:, CENTER].sum() / faces, error[:, LOG_SIDE].sum() / faces
    points = error[:, POINTS].sum() / (5 * faces)
    parts = {"heat": heat_loss, "center": center, "side": side, "points": points}
    loss = heat_loss + 5 * center + 2.5 * side + 5 * points
    return loss, {name: float(part.detach()) for name, part in parts.items()}
