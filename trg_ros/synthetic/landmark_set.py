"""The landmarks our own checkpoints predict: a fixed, mirror-symmetric choice of ICT-FaceKit vertices.

The first 68 are the Multi-PIE points, the others were chosen by farthest-point sampling of mirror pairs on
the visible part of the neutral face, so that any prefix that closes its pairs is itself well spread. The
choice is frozen in ``landmark_set.json`` (vertex numbers of ICT-FaceKit's topology), because checkpoints and
data sets depend on it.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class LandmarkSet:
    """Vertex choice and its topology.

    vertices: (V,) int64, ICT-FaceKit vertex of every landmark. sampled: (S,) landmark indices the sampler
    looks at. landmarks68: (68,) landmark indices of the Multi-PIE points. flip: (V,) the landmark on the
    other side of the face. triangles: (T, 3) landmark indices, counter-clockwise seen from outside in ICT's
    right-handed y-up axes.
    """

    vertices: np.ndarray
    sampled: np.ndarray
    landmarks68: np.ndarray
    flip: np.ndarray
    triangles: np.ndarray


@lru_cache(maxsize=1)
def default_landmark_set() -> LandmarkSet:
    """The packaged choice: 433 landmarks, 305 of them or fewer sampled."""
    raw = json.loads((Path(__file__).parent / "landmark_set.json").read_text())
    arrays = {key: np.asarray(value, dtype=np.int64) for key, value in raw.items()}
    return LandmarkSet(landmarks68=np.arange(68, dtype=np.int64), **arrays)
