"""Hair and hats: a shell over the skull along rays from its middle, with an optional fall down the back and
sides."""

from dataclasses import dataclass

import cv2
import numpy as np

from trg_ros.synthetic.appearance import linear
from trg_ros.synthetic.baked import (
    HAIR_AZIMUTHS,
    HAIR_CAP_RINGS,
    HAIR_CENTER,
    HAIR_DROP_RINGS,
    HAIR_ELEVATIONS,
    Baked,
)

_RINGS = HAIR_CAP_RINGS + HAIR_DROP_RINGS
_KNOTS = (0, 35, 55, 75, 95, 115, 180)  # degrees from the front, where the hairline is drawn


@dataclass(frozen=True)
class Shell:
    """vertices (N, 3) model space, colors (N, 3) linear RGB. kind: "hair" or "hat"."""

    vertices: np.ndarray
    colors: np.ndarray
    kind: str
    long: bool


def _grid_triangles() -> np.ndarray:
    row = np.arange(_RINGS - 1)[:, None] * HAIR_AZIMUTHS
    column = np.arange(HAIR_AZIMUTHS)[None]
    after = (column + 1) % HAIR_AZIMUTHS
    corners = (row + column, row + HAIR_AZIMUTHS + column, row + HAIR_AZIMUTHS + after, row + after)
    quads = np.stack(corners, axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


SHELL_TRIANGLES = _grid_triangles()


def draw_shell(
    vertices: np.ndarray, hair_color: np.ndarray, baked: Baked, rng: np.random.Generator
) -> Shell | None:
    """Hair or a hat for a head with the given (V, 3) vertices; None for a bald head."""
    kind = rng.random()
    if kind < 0.1:
        return None
    hat = kind > 0.9
    long = not hat and rng.random() < 0.42
    hairline, open_from = _hairline(hat, long, baked, rng)
    scalp, elevation = _scalp(vertices, hairline, baked)
    grid = np.zeros((_RINGS, HAIR_AZIMUTHS, 3))
    noise, other = (baked.hair_noise[rng.integers(len(baked.hair_noise))] for _ in range(2))
    grid[:HAIR_CAP_RINGS] = _raise(scalp, elevation, hat, long, noise, rng)
    _let_fall(grid, open_from if long else None, other, baked, rng)
    streaks = noise * rng.uniform(0, 0.5) + other * rng.uniform(0, 0.5)
    color = hair_color
    if hat:
        color = linear(rng.uniform(8, 245, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(8, 240)))
        streaks = streaks * 0.4
    colors = color * np.exp(streaks.clip(-1.2, 1.2))[..., None]
    return Shell(grid.reshape(-1, 3), colors.reshape(-1, 3), "hat" if hat else "hair", long)


def _one_side(azimuth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(A,) 0..1: a lock over one half of the forehead, azimuths in degrees."""
    side = 1 if rng.random() < 0.5 else -1
    return np.exp(-(((side * azimuth - rng.uniform(10, 45)) / rng.uniform(14, 34)) ** 2))


def _hairline(hat: bool, long: bool, baked: Baked, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Elevation (degrees) of the lower edge per azimuth (A,), and the distance from the front (A,), degrees,
    from which long hair falls freely."""
    azimuth = np.degrees(np.linspace(-np.pi, np.pi, HAIR_AZIMUTHS, endpoint=False))
    if hat:
        front = rng.uniform(14, 38)
        back = [rng.uniform(-12, 15), rng.uniform(-30, 0), rng.uniform(-35, -5)]
        heights = [front, front, front - rng.uniform(0, 6), front - rng.uniform(0, 25), *back]
    else:
        front = rng.uniform(32, 58) if rng.random() < 0.72 else rng.uniform(6, 32)
        temples = [min(front, 30) + rng.uniform(-12, 10), rng.uniform(-12, 18), rng.uniform(-2, 16)]
        back = [rng.uniform(-35, -12), rng.uniform(-45, -25)]
        heights = [front + rng.uniform(-4, 4), front + rng.uniform(-10, 6), *temples, *back]
    edge = np.interp(np.abs(azimuth + rng.uniform(-6, 6)), _KNOTS, heights)
    if not hat and rng.random() < 0.45:  # combed to one side, low over the other brow
        edge = edge - rng.uniform(0, 26) * _one_side(azimuth, rng)
    edge = edge + baked.hair_noise[rng.integers(len(baked.hair_noise))][0] * rng.uniform(0, 3)
    if not hat and rng.random() < 0.4:
        parting = rng.uniform(-40, 40)
        edge = edge + rng.uniform(4, 14) * np.exp(-(((azimuth - parting) / 15) ** 2))
    open_from = rng.uniform(34, 88) + rng.uniform(-16, 16) * np.sign(azimuth)
    if long:
        edge = np.where(np.abs(azimuth) > open_from, rng.uniform(0, 16), edge)
        edge = cv2.blur(edge.reshape(1, -1), (3, 1), borderType=cv2.BORDER_REPLICATE)[0]
    return edge, open_from


def _scalp(vertices: np.ndarray, hairline: np.ndarray, baked: Baked) -> tuple[np.ndarray, np.ndarray]:
    """Points on the skin (CAP_RINGS, A, 3) from the crown down to the hairline, and their elevation in
    degrees."""
    step = np.linspace(0, 1, HAIR_CAP_RINGS)[:, None]
    elevation = 90 + (hairline[None] - 90) * step
    place = np.clip((90 - elevation) / 150 * (HAIR_ELEVATIONS - 1), 0, HAIR_ELEVATIONS - 1.001)
    lower = place.astype(int)
    fraction = (place - lower)[..., None]
    roots = np.einsum("rajc,raj->rac", vertices[baked.hair_triangles], baked.hair_weights)
    column = np.arange(HAIR_AZIMUTHS)[None]
    return roots[lower, column] * (1 - fraction) + roots[lower + 1, column] * fraction, elevation


def _raise(
    scalp: np.ndarray,
    elevation: np.ndarray,
    hat: bool,
    long: bool,
    noise: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Lift the cap off the skin by the hair's thickness."""
    outward = scalp - HAIR_CENTER
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True) + 1e-9
    thickness = rng.uniform(0.3, 1.4) if hat or rng.random() < 0.5 else rng.uniform(1, 3.8)
    if not hat and rng.random() < 0.12:
        thickness = rng.uniform(3.5, 7.5)  # curls
    bumps = rng.uniform(0, 0.3) * (0.3 if hat else 1)
    step = np.linspace(0, 1, HAIR_CAP_RINGS)[:, None]
    profile = np.minimum(1, (1 - step) * rng.uniform(3, 12) + (0.6 if long else 0.35))
    profile = profile * (1 + 0.25 * np.cos(np.deg2rad(elevation)) * rng.uniform(-1, 1))
    height = (thickness * profile * (1 + bumps * noise[:HAIR_CAP_RINGS])).clip(0.12)
    return scalp + outward * height[..., None]


def _let_fall(
    grid: np.ndarray, open_from: np.ndarray | None, noise: np.ndarray, baked: Baked, rng: np.random.Generator
) -> None:
    """The rings below the cap: down behind the azimuths ``open_from`` (A,), or nothing; in place."""
    edge = grid[HAIR_CAP_RINGS - 1]
    grid[HAIR_CAP_RINGS:] = edge[None]
    if open_from is None:
        return
    azimuth = np.abs(np.degrees(np.linspace(-np.pi, np.pi, HAIR_AZIMUTHS, endpoint=False)))
    falls = (azimuth > open_from)[None]
    end = rng.uniform(-17, -3)
    step = np.linspace(0, 1, HAIR_DROP_RINGS + 1)[1:, None]
    flare = 1 + step * rng.uniform(-0.12, 0.45) + rng.uniform(0.02, 0.12) * noise[HAIR_CAP_RINGS:] * step
    flare = flare + rng.uniform(0, 0.08) * np.sin(step * rng.uniform(4, 20) + rng.uniform(0, 6)) * step
    ragged = baked.hair_noise[rng.integers(len(baked.hair_noise))][0][None]
    fallen = np.stack(
        [
            edge[None, :, 0] * flare,
            edge[None, :, 1] + (end - edge[None, :, 1] + ragged) * step,
            HAIR_CENTER[2] + (edge[None, :, 2] - HAIR_CENTER[2]) * flare,
        ],
        axis=-1,
    )
    grid[HAIR_CAP_RINGS:] = np.where(falls[..., None], fallen, grid[HAIR_CAP_RINGS:])
