"""Random light: an ambient sky and one to three distant lamps, hard or soft, coloured."""

from dataclasses import dataclass

import numpy as np

from trg_ros.synthetic.baked import Baked
from trg_ros.synthetic.raster import VISIBILITY_TAPS, light_vertices

_NO_SHADOW = np.zeros((1, 1), np.uint8)


@dataclass(frozen=True)
class Lighting:
    """Arguments of ``raster.light_vertices``, all float32 but taps."""

    ambient: np.ndarray
    surface: np.ndarray
    lights: np.ndarray
    weights: np.ndarray
    taps: np.ndarray

    def shine_on(
        self,
        points: np.ndarray,
        normals: np.ndarray,
        openness: np.ndarray,
        visibility: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Diffuse and specular light (V, 3) at points with normals in the camera frame."""
        shadow = _NO_SHADOW if visibility is None else visibility
        return light_vertices(
            points,
            normals,
            shadow,
            openness,
            self.ambient,
            self.surface,
            self.lights,
            self.weights,
            self.taps,
        )


def draw_lighting(camera_R_model: np.ndarray, baked: Baked, rng: np.random.Generator) -> Lighting:
    """Lamps mostly on the camera's side and above; shadows from the baked visibility around each lamp's
    direction."""
    ambient = rng.uniform(0.25, 1.1) * np.exp(rng.normal(0, 0.08, 3))
    surface = [rng.uniform(0.5, 1.3), rng.uniform(-0.2, 0.5), rng.uniform(0, 0.22), rng.uniform(6, 40)]
    count = int(rng.integers(1, 4))
    lights = np.zeros((count, 8))
    weights, taps = np.zeros((count, VISIBILITY_TAPS)), np.zeros((count, VISIBILITY_TAPS), np.int64)
    for k in range(count):
        direction = rng.normal(size=3)
        if rng.random() < 0.85:
            direction[2] = -abs(direction[2]) * rng.uniform(0.2, 1.6)
        direction[1] -= 0.5
        direction /= np.linalg.norm(direction)
        color = rng.uniform(0.15, 1.6) * np.exp(rng.normal(0, 0.12, 3)) * (1 if k == 0 else 0.5)
        lights[k] = [*direction, *color, rng.uniform(0, 0.35), rng.uniform(0.4, 1)]
        softness = rng.uniform(30, 120)
        nearness = np.exp((baked.directions @ (camera_R_model.T @ direction) - 1) * softness)
        taps[k] = np.argsort(-nearness, kind="stable")[:VISIBILITY_TAPS]
        weights[k] = nearness[taps[k]] / nearness[taps[k]].sum()
    single = [np.asarray(value, np.float32) for value in (ambient, surface, lights, weights)]
    return Lighting(single[0], single[1], single[2], single[3], taps)
