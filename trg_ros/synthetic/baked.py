"""What is computed once per face model and kept in a cache file: visibility, hair rays, noise fields, region
masks."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from trg_ros.backends.model_cache import ModelCache, default_cache_directory
from trg_ros.synthetic import raster
from trg_ros.synthetic.face_model import FACE_END, SKIN_END, FaceModel

BAKED_VERSION = 2
DIRECTIONS = 240
HAIR_AZIMUTHS, HAIR_CAP_RINGS, HAIR_DROP_RINGS, HAIR_ELEVATIONS = 96, 26, 12, 76
HAIR_CENTER = np.array([0.0, 4.5, 1.2])  # model space: hair grows along rays from the middle of the skull
NOISE_WAVELENGTHS = (14.0, 6.0, 2.5, 1.0)  # centimetres
NOISE_FIELDS = 32
HAIR_FIELDS = 48
FAR = 99.0
_SHADOW_MAP_SIDE = 512  # pixels
_FILE = "baked.npz"


@dataclass(frozen=True, eq=False)
class Baked:
    """Arrays over the model's vertices unless said otherwise; distances in centimetres.

    visibility: (D, V) uint8, 1 where nothing blocks direction d. directions: (D, 3) model space. openness:
    (V,) 0..1. noise: (octaves, fields, SKIN_END) float32. hair_triangles, hair_weights: (elevations,
    azimuths, 3) vertices and weights where the hair rays leave the skin. hair_noise: (fields, rings,
    azimuths). masks: (SKIN_END,) each. body_weight: (SKIN_END,) how much a vertex follows the shoulders
    instead of the head.
    """

    visibility: np.ndarray
    directions: np.ndarray
    openness: np.ndarray
    noise: np.ndarray
    hair_triangles: np.ndarray
    hair_weights: np.ndarray
    hair_noise: np.ndarray
    masks: dict[str, np.ndarray]
    body_weight: np.ndarray


def load_baked(model: FaceModel) -> Baked:
    """From the cache (``~/.cache/trg_ros/renderer``), or computed (half a minute) and cached."""
    base = default_cache_directory()
    cache = ModelCache(base / "renderer" if base else None)
    key = f"baked_{model.digest}_v{BAKED_VERSION}"
    return _assemble(model, cache.load_or_build(key, _load, partial(_bake, model), _save))


def _load(entry: Path) -> dict[str, np.ndarray]:
    with np.load(entry / _FILE) as archive:
        return {name: archive[name] for name in archive.files}


def _save(arrays: dict[str, np.ndarray], entry: Path) -> None:
    np.savez(entry / _FILE, **arrays)  # type: ignore[arg-type]


def _bake(model: FaceModel) -> dict[str, np.ndarray]:
    vertices = model.neutral.astype(np.float64)
    rng = np.random.default_rng(0)
    directions = sphere_directions(DIRECTIONS)
    hair_triangles, hair_weights = _hair_roots(model, vertices)
    masks = {f"mask_{name}": values for name, values in _region_masks(model, vertices).items()}
    return {
        "visibility": _visibility(model, vertices, directions),
        "directions": directions,
        "noise": _noise_fields(vertices[:SKIN_END], rng),
        "hair_triangles": hair_triangles,
        "hair_weights": hair_weights,
        "hair_noise": _hair_noise(rng),
        **masks,
    }


def _assemble(model: FaceModel, arrays: dict[str, np.ndarray]) -> Baked:
    masks = {
        name[5:]: values.astype(np.float32) for name, values in arrays.items() if name.startswith("mask_")
    }
    y, z = model.neutral[:SKIN_END, 1], model.neutral[:SKIN_END, 2]
    openness = (arrays["visibility"].mean(axis=0, dtype=np.float32) * 2).clip(0, 1)
    return Baked(
        visibility=arrays["visibility"],
        directions=arrays["directions"],
        openness=openness.astype(np.float32),
        noise=arrays["noise"],
        hair_triangles=arrays["hair_triangles"],
        hair_weights=arrays["hair_weights"],
        hair_noise=arrays["hair_noise"],
        masks=masks,
        body_weight=smoothstep(-(y + 0.35 * z), 5.5, 13).astype(np.float32),
    )


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def sphere_directions(count: int) -> np.ndarray:
    """Evenly spread unit vectors (count, 3): a Fibonacci spiral."""
    i = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    return np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], axis=1)


def _visibility(model: FaceModel, vertices: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(D, V) uint8: is a vertex of the neutral head seen from far away in a direction? A shadow map per
    direction."""
    solid = model.triangles[~model.eyelashes]
    colors = np.zeros((len(vertices), 3), np.float32)
    opaque, both_sides = np.ones(len(solid), np.float32), np.zeros(len(solid), np.int8)
    visible, side = np.zeros((len(directions), len(vertices)), np.uint8), _SHADOW_MAP_SIDE
    for index, direction in enumerate(directions):
        up = np.array([0, 1, 0]) if abs(direction[1]) < 0.9 else np.array([1, 0, 0])
        right = np.cross(up, direction)
        right /= np.linalg.norm(right)
        other = np.cross(direction, right)
        x, y = vertices @ right * side / 46 + side / 2, vertices @ other * side / 46 + side / 2
        points = np.stack([x, y, 50 - vertices @ direction], axis=1).astype(np.float32)
        depth = np.full((side, side), 1e9, np.float32)
        image, coverage = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
        raster.rasterise(points, solid, colors, opaque, both_sides, image, depth, coverage)
        columns, rows = (np.clip(v.astype(int), 0, side - 1) for v in (x, y))
        visible[index] = points[:, 2] < depth[rows, columns] + 0.25
    return visible


def _hair_roots(model: FaceModel, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    azimuth = np.linspace(-np.pi, np.pi, HAIR_AZIMUTHS, endpoint=False)[None]
    elevation = np.deg2rad(np.linspace(90, -60, HAIR_ELEVATIONS))[:, None]
    rays = np.stack(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation) + 0 * azimuth,
            np.cos(azimuth) * np.cos(elevation),
        ],
        -1,
    ).reshape(-1, 3)
    skin = model.triangles[model.skin]
    hit, weights, distance = np.zeros(len(rays), np.int64), np.zeros((len(rays), 3)), np.zeros(len(rays))
    raster.cast_rays(HAIR_CENTER, rays, vertices, skin, hit, weights, distance)
    shape = (HAIR_ELEVATIONS, HAIR_AZIMUTHS, 3)
    return skin[hit].reshape(shape), weights.reshape(shape).astype(np.float32)


def _noise_fields(vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(octaves, fields, V) float32: smooth random functions of space, about unit variance."""
    octaves = []
    for wavelength in NOISE_WAVELENGTHS:
        waves = rng.normal(size=(3, 24)) * 2 * np.pi / wavelength / 1.7
        phases = np.cos(vertices @ waves + rng.uniform(0, 2 * np.pi, 24))
        octaves.append((phases @ rng.normal(size=(24, NOISE_FIELDS))).T / np.sqrt(12))
    return np.stack(octaves).astype(np.float32)


def _hair_noise(rng: np.random.Generator) -> np.ndarray:
    fields = []
    for _ in range(HAIR_FIELDS):
        field: np.ndarray = rng.normal(size=(HAIR_CAP_RINGS + HAIR_DROP_RINGS, HAIR_AZIMUTHS))
        along, across = rng.choice([9, 21, 31]), rng.choice([1, 1, 3, 9])
        periodic: np.ndarray = np.concatenate([field] * 3, axis=1)
        periodic = cv2.GaussianBlur(periodic, (0, 0), sigmaX=across * 0.6, sigmaY=along * 0.4)
        field = periodic[:, HAIR_AZIMUTHS : 2 * HAIR_AZIMUTHS]
        fields.append(field / field.std())
    return np.array(fields, dtype=np.float32)


def _region_masks(model: FaceModel, v: np.ndarray) -> dict[str, np.ndarray]:
    """Distances (cm) of the skin's vertices to features of the neutral face; FAR where they don't apply."""
    v = v[:SKIN_END]
    lm = model.neutral[model.landmarks68].astype(np.float64)
    face = np.arange(SKIN_END) < FACE_END
    front = face & (v[:, 2] > 4)
    lips = front & (np.abs(v[:, 2] - lm[51][2]) < 5)
    upper_lip = (lm[33] + lm[51]) / 2
    mouth_corners = (lm[48] + [0.2, 0.3, 0], lm[54] + [-0.2, 0.3, 0])
    chin = (lm[57] + [0, -0.8, 0], lm[8]), (lm[57] + [0, -1.0, 0], lm[8] + [0, -0.5, -2])
    cheeks = (lm[1] * 0.3 + lm[31] * 0.7, lm[15] * 0.3 + lm[35] * 0.7)
    eyes = [list(range(36, 42)), list(range(42, 48))]
    eye_lines = np.minimum(*(_to_polyline(v, lm[[*eye, eye[0]]]) for eye in eyes))
    masks = {
        "brow": np.where(front, np.minimum(_to_polyline(v, lm[17:22]), _to_polyline(v, lm[22:27])), FAR),
        "lips": np.where(lips, _inside(v, lm[48:60]), -FAR),
        "eye": np.where(front, eye_lines, FAR),
        "jaw": np.where(face, _to_polyline(v, lm[2:15]), FAR),
        "moustache": np.where(front, np.minimum(*(_to_segment(v, upper_lip, c) for c in mouth_corners)), FAR),
        "chin": np.where(face, np.minimum(*(_to_segment(v, a, b) for a, b in chin)), FAR),
        "cheek": np.where(front, np.minimum(*(np.linalg.norm(v - c, axis=1) for c in cheeks)), FAR),
        "nose": np.linalg.norm(v - lm[30], axis=1),
    }
    return {name: values.astype(np.float32) for name, values in masks.items()}


def _to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    along = np.clip(((points - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(points - (a + along[:, None] * (b - a)), axis=1)


def _to_polyline(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    return np.min([_to_segment(points, a, b) for a, b in pairwise(corners)], axis=0)


def _inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Signed distance in the frontal plane to a closed polygon, positive inside."""
    polygon = np.ascontiguousarray(corners[:, :2]).astype(np.float32)
    return np.array([cv2.pointPolygonTest(polygon, (float(x), float(y)), True) for x, y in points[:, :2]])
