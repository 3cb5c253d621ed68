"""From the finder's map to faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trg_ros.finder.config import CENTER, HEAT, LOG_SIDE, POINTS, STRIDE

#: Two finds whose boxes overlap more (intersection over union), or where the centre of the weaker one lies
#: within this part of the stronger one's half side, are one face.
_SAME_OVERLAP, _SAME_CENTER = 0.35, 0.35
_MOST = 200
#: Nobody is surer than that, logit.
_SURE = 7.0


@dataclass(frozen=True)
class FoundFaces:
    """N faces, best first. boxes: (N, 4) float32 LTRB px, square. scores: (N,) 0..1. points: (N, 5, 2) px."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    points: NDArray[np.float32]


def decode(output: NDArray[np.float32], min_score: float) -> FoundFaces:
    """Faces of one map (14, H, W): local maxima of the heat, without those that say the same again."""
    logit = output[HEAT]
    threshold = np.log(max(min_score, 1e-6) / max(1 - min_score, 1e-6))
    padded = np.pad(logit, 1, constant_values=-np.inf)
    height, width = logit.shape
    shifts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    rows, columns = np.nonzero((logit >= np.max(shifts, axis=0)) & (logit >= threshold))
    order = np.argsort(-logit[rows, columns], kind="stable")[:_MOST]
    rows, columns = rows[order], columns[order]
    center, side, points = _faces_at(output, rows, columns)
    kept = _distinct(center, side[:, 0])
    boxes = np.concatenate([center - side / 2, center + side / 2], axis=1)
    scores = 1 / (1 + np.exp(-logit[rows, columns]))
    return FoundFaces(boxes[kept], scores[kept].astype(np.float32), points[kept])


def heat_of(output: NDArray[np.float32], box: NDArray[Any]) -> float:
    """How sure one map (14, H, W) is of a face in a box (4,) LTRB px: the largest logit of the cells that
    mean about this box."""
    rows, columns = (grid.ravel() for grid in np.indices(output.shape[1:]))
    center, side, _ = _faces_at(output, rows, columns)
    boxes = np.concatenate([center - side / 2, center + side / 2], axis=1)
    meant = overlaps(box[None], boxes)[0] >= _SAME_OVERLAP
    return float(output[HEAT].ravel()[meant].max(initial=-_SURE))


def overlaps(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4) LTRB."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others)]
    return inner / np.maximum(areas[0][:, None] + areas[1][None] - inner, 1e-9)


def _faces_at(
    output: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What N cells mean: centres (N, 2), sides (N, 1) and points (N, 5, 2), px."""
    values = output[:, rows, columns].astype(np.float32)
    cell = np.stack([columns, rows], axis=1).astype(np.float32) * STRIDE + (STRIDE - 1) / 2
    side = STRIDE * np.exp(np.clip(values[LOG_SIDE], -3, 8))[:, None]
    points = cell[:, None] + side[:, None] * values[POINTS].T.reshape(-1, 5, 2)
    return cell + side * values[CENTER].T, side, points


def _distinct(center: NDArray[np.float32], side: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices of the squares that no stronger (earlier) kept one says already."""
    kept: list[int] = []
    for k in range(len(side)):
        others = np.array(kept, np.int64)
        way = np.abs(center[others] - center[k])
        reach = (side[others] + side[k])[:, None] / 2
        shared = np.clip(np.minimum(reach - way, np.minimum(side[others], side[k])[:, None]), 0, None)
        inner = shared.prod(axis=1)
        overlap = inner / (side[others] ** 2 + side[k] ** 2 - inner)
        inside = way.max(axis=1, initial=0.0) < _SAME_CENTER * side[others] / 2
        if not (inside | (overlap > _SAME_OVERLAP)).any():
            kept.append(k)
    return np.array(kept, np.int64)
