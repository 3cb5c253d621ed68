"""Backgrounds: patches cut from any folder of pictures, and procedural ones so that none is needed."""

import math
from pathlib import Path

import cv2
import numpy as np

from trg_ros.errors import InputError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def photo_patches(folder: Path | str, count: int, size: int, seed: int) -> np.ndarray:
    """Random square patches (count, size, size, 3) uint8 RGB of the pictures in a folder (searched
    recursively).

    :raises InputError: when the folder holds no readable picture.
    """
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES)
    photos = [photo for photo in (cv2.imread(str(path)) for path in paths) if photo is not None]
    photos = [_at_most(photo, 1600) for photo in photos if min(photo.shape[:2]) >= size // 2]
    if not photos:
        raise InputError(f"no readable picture in {folder}; give a folder of photographs, or none at all")
    rng = np.random.default_rng([seed, 1])
    patches = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        photo = photos[i % len(photos)]
        height, width = photo.shape[:2]
        side = int(min(height, width) * rng.uniform(0.15, 1.0))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        patch = photo[top : top + side, left : left + side, ::-1]
        mode = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        patches[i] = cv2.resize(np.ascontiguousarray(patch), (size, size), interpolation=mode)
    return patches


def _at_most(image: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def procedural_patches(count: int, size: int, seed: int) -> np.ndarray:
    """Invented backgrounds (count, size, size, 3) uint8 RGB: clouds of noise, walls, stripes, shelves of
    boxes, lights."""
    patches = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        patches[i] = procedural_background(size, size, np.random.default_rng([seed, 2, i]))
    return patches


def procedural_background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One invented background, (height, width, 3) uint8 RGB."""
    base, other = _color(rng), _color(rng)
    weight = _cloud(height, width, rng)[..., None]
    image = base * (1 - weight) + other * weight
    for _ in range(rng.integers(0, 4)):
        image = _PATTERNS[rng.integers(len(_PATTERNS))](image, rng)
    grain = rng.uniform(0, 0.12) * (_fine_noise(height, width, rng)[..., None])
    image = image * (1 + grain)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), rng.uniform(0.5, 4) * width / 256)
    return np.clip(image, 0, 255).astype(np.uint8)


def _color(rng: np.random.Generator) -> np.ndarray:
    gray = rng.uniform(5, 250)
    return np.clip(gray + rng.normal(0, 45, 3) * (rng.random() < 0.7), 0, 255)


def _cloud(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Several octaves of smooth noise, (height, width) in 0..1."""
    total, amplitude = np.zeros((height, width), np.float32), 1.0
    for octave in range(5):
        cells = 2 ** (octave + 1)
        coarse = rng.normal(size=(cells + 2, cells + 2)).astype(np.float32)
        total += amplitude * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        amplitude *= rng.uniform(0.35, 0.7)
    return 1 / (1 + np.exp(-1.5 * total))


def _fine_noise(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((height, width)).astype(np.float32)
    sigma = rng.uniform(0.3, 2)
    return cv2.GaussianBlur(noise, (0, 0), sigma) * (1 + 2 * sigma)


def _grid(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a slightly turned grid, in units of the image width."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / width
    angle = rng.normal(0, 0.15) + rng.integers(2) * math.pi / 2
    return math.cos(angle) * x + math.sin(angle) * y, -math.sin(angle) * x + math.cos(angle) * y


def _stripes(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    u, _ = _grid(image, rng)
    period = rng.uniform(0.02, 0.5)
    wave = (np.mod(u + rng.random(), period) / period < rng.uniform(0.1, 0.9))[..., None]
    return np.where(wave, image * (1 - (a := rng.uniform(0.1, 0.9))) + _color(rng) * a, image)


def _boxes(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    u, v = _grid(image, rng)
    for _ in range(rng.integers(3, 25)):
        cu, cv_ = rng.uniform(-0.7, 1.5, 2)
        inside = (np.abs(u - cu) < rng.uniform(0.01, 0.25)) & (np.abs(v - cv_) < rng.uniform(0.01, 0.25))
        image = np.where(inside[..., None], _color(rng), image)
    return image


def _blobs(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / width
    for _ in range(rng.integers(2, 12)):
        radius = rng.uniform(0.02, 0.3)
        distance = (
            np.hypot(x - rng.random(), (y - rng.random() * height / width) * rng.uniform(0.5, 2)) / radius
        )
        weight = np.clip((1 - distance) * rng.uniform(1, 20), 0, 1)[..., None] * rng.uniform(0.2, 1)
        image = image * (1 - weight) + _color(rng) * weight
    return image


_PATTERNS = (_stripes, _boxes, _blobs)
