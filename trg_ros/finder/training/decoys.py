"""Hands, fists, limbs, trunks, backs of heads and coins: what finders like to take for faces, as pictures.

Solids are height fields, the upper sides of capsules, under a light of their own. They need no realism beyond
what a face finder sees in 20 to 100 px: round, skin-coloured, with dark creases and bright knuckles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

_SIDE = 112
#: One capsule: x, y, radius of both ends (the picture is -1..1), and how far it lies above the ground.
_Capsule = tuple[float, float, float, float, float, float, float]


def decoys(count: int, textures: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """Pictures (112, 112, 4) uint8, RGB premultiplied by the coverage; always the same ones for a seed.

    :param textures: (T, T, 3) uint8 pictures that clothes are cut from.
    """
    rng = np.random.default_rng(seed)
    makers = (_hand, _fist, _limb, _trunk, _hair, _coin)
    return [makers[k % len(makers)](textures[int(rng.integers(len(textures)))], rng) for k in range(count)]


def _hand(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A palm with fingers, spread or together, bent or straight, and a piece of the arm."""
    parts: list[_Capsule] = [(-0.05, 0.15, 0.26, 0.05, 0.3, 0.24, 0.0), (0, 0.4, 0.2, 0, 1.3, 0.22, -0.05)]
    spread, length = rng.uniform(0.0, 0.35), rng.uniform(0.35, 0.6)
    for finger in range(4):
        x, heading = -0.27 + 0.18 * finger, spread * (finger - 1.5)
        reach = length * (1 - 0.12 * abs(finger - 1.3)) * rng.uniform(0.6, 1.0)
        tip = x + reach * math.sin(heading), 0.05 - reach * math.cos(heading)
        parts.append((x, 0.05, 0.09, *tip, 0.075, rng.uniform(0, 0.08)))
    parts.append(
        (0.2, 0.3, 0.1, *(rng.uniform(0.3, 0.6), rng.uniform(-0.2, 0.2)), 0.08, rng.uniform(0, 0.15))
    )
    return _lit(parts, _skin(rng, len(parts)), rng)


def _fist(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four bent fingers side by side, the thumb across or up, the wrist, maybe a sleeve."""
    parts: list[_Capsule] = [(0, 0.1, 0.38, 0, 0.2, 0.36, -0.1), (0.1, 0.4, 0.24, 0.2, 1.3, 0.28, -0.1)]
    for finger in range(4):
        y = -0.27 + 0.185 * finger + rng.normal() * 0.01
        parts.append((-0.22, y, 0.1, rng.uniform(0.1, 0.25), y + rng.normal() * 0.02, 0.1, 0.22))
    up = rng.random() < 0.4
    thumb = (rng.uniform(-0.1, 0.2), -0.75) if up else (rng.uniform(-0.3, -0.1), rng.uniform(-0.1, 0.2))
    parts.append((0.3, -0.2, 0.11, *thumb, 0.1, 0.3))
    albedo = _skin(rng, len(parts))
    if rng.random() < 0.5:
        albedo[1] = rng.uniform(10, 240, 3)
    return _lit(parts, albedo, rng)


def _limb(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One or two arms or legs, bent or straight, maybe with a sleeve or a shoe."""
    parts: list[_Capsule] = []
    for _ in range(int(rng.integers(1, 3))):
        x, thick = rng.uniform(-0.4, 0.4), rng.uniform(0.12, 0.35)
        joint = x + rng.normal() * 0.2, rng.uniform(-0.3, 0.3)
        parts.append((x + rng.normal() * 0.2, -1.3, thick * 1.2, *joint, thick * 0.85, 0.0))
        parts.append(
            (*joint, thick * 0.9, x + rng.normal() * 0.4, 1.3, thick * 0.6, rng.uniform(-0.05, 0.05))
        )
    albedo = _skin(rng, len(parts))
    for k in range(len(parts)):
        if rng.random() < 0.25:
            albedo[k] = rng.uniform(5, 245, 3)
    return _lit(parts, albedo, rng)


def _trunk(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Neck, chest, hips and arms, with clothes over bands of it."""
    broad, slim = rng.uniform(0.3, 0.5), rng.uniform(0.22, 0.4)
    parts: list[_Capsule] = [
        (-broad / 2, -0.45, broad * 0.7, broad / 2, -0.45, broad * 0.7, 0.0),
        (0, -0.3, broad, 0, 0.3, slim, 0.05),
        (-0.1, 0.75, slim * 1.2, 0.1, 0.75, slim * 1.2, 0.0),
        (0, -1.2, 0.16, 0, -0.6, 0.16, 0.2),
    ]
    for side in (-1, 1):
        elbow = side * (broad + rng.uniform(0.2, 0.6)), rng.uniform(-0.1, 0.4)
        parts.append((side * (broad + 0.1), -0.5, 0.17, *elbow, 0.12, 0.0))
        parts.append((*elbow, 0.13, side * rng.uniform(0, 0.9), rng.uniform(-0.2, 0.9), 0.1, 0.3))
    picture = _lit(parts, _skin(rng, len(parts)), rng)
    cloth = cv2.resize(texture, (_SIDE, _SIDE)).astype(np.float32)
    if rng.random() < 0.5:
        cloth = rng.uniform(5, 245, 3) + (cloth - 128) * rng.uniform(0, 0.3)
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    neckline = -0.75 + rng.uniform(0, 0.5) + rng.uniform(-1, 1.5) * np.abs(x)
    worn = (y > neckline) & (y < rng.uniform(-0.1, 1.5)) | (y > rng.uniform(0.3, 1.2))
    shade = picture[..., :3].max(axis=2, keepdims=True) / np.float32(255)
    picture[..., :3] = np.where(worn[..., None], np.clip(cloth, 0, 255) * shade, picture[..., :3])
    return picture


def _hair(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A head from behind: hair in strands down to a neck or beyond, maybe an ear."""
    long = rng.uniform(0.0, 1.0)
    parts: list[_Capsule] = [(0, 0.2, 0.22, 0, 1.3, 0.3, -0.4)]
    parts.append((rng.normal() * 0.1, -0.3, rng.uniform(0.45, 0.6), rng.normal() * 0.15, long, 0.5, 0.0))
    albedo = _skin(rng, 3)
    albedo[1] = np.array([190, 150, 105]) * rng.uniform(0.05, 1.2) * rng.uniform(0.85, 1.1, 3)
    if rng.random() < 0.4:
        side = rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)
        parts.append((side, -0.15, 0.12, side * 0.9, 0.1, 0.08, 0.5))
    picture = _lit(parts, albedo[: len(parts)], rng).astype(np.float32)
    coarse = rng.normal(size=(4, int(rng.integers(16, 90)))).astype(np.float32)
    straight = cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    bend = np.linspace(-1, 1, _SIDE, dtype=np.float32)[:, None] * rng.uniform(-20, 20)
    columns = np.arange(_SIDE, dtype=np.float32)[None] + bend
    rows = np.repeat(np.arange(_SIDE, dtype=np.float32)[:, None], _SIDE, axis=1)
    strands = cv2.remap(straight, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    picture[..., :3] *= np.clip(1 + rng.uniform(0.05, 0.4) * strands, 0.2, 1.9)[..., None]
    return np.minimum(picture, picture[..., 3:]).clip(0, 255).astype(np.uint8)


def _coin(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A disc or a rounded plate with a relief or a few signs on it."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j].astype(np.float32)
    power = 2.0 if rng.random() < 0.6 else 8.0
    inside = np.abs(x / rng.uniform(0.6, 0.85)) ** power + np.abs(y / rng.uniform(0.6, 0.85)) ** power
    cover = np.clip((1 - inside) * _SIDE / 8, 0, 1)
    gray = cv2.resize(texture, (_SIDE, _SIDE)).mean(axis=2).astype(np.float32)
    relief = cv2.GaussianBlur(gray, (0, 0), rng.uniform(1, 4)) * rng.uniform(0.01, 0.06)
    relief += np.minimum(cover, np.clip((1 - inside) * 12, 0, 1)) * 4
    color = np.full(3, rng.uniform(60, 200)) if rng.random() < 0.5 else rng.uniform(10, 250, 3)
    light = rng.normal(size=2)
    slope = cv2.Sobel(relief, cv2.CV_32F, 1, 0) * light[0] + cv2.Sobel(relief, cv2.CV_32F, 0, 1) * light[1]
    picture = np.clip(color + rng.uniform(2, 12) * slope[..., None], 0, 255)
    for _ in range(int(rng.integers(0, 5))):
        center = rng.uniform(0.25, 0.75, 2) * _SIDE
        ink, radius = tuple(float(c) for c in rng.uniform(0, 255, 3)), int(rng.uniform(3, 20))
        if rng.random() < 0.5:
            width = int(rng.choice([-1, 2, 4]))
            cv2.circle(picture, (int(center[0]), int(center[1])), radius, ink, width, cv2.LINE_AA)
        else:
            other = center + rng.normal(size=2) * 15
            cv2.line(picture, tuple(center.astype(int)), tuple(other.astype(int)), ink, max(2, radius // 3))
    return np.concatenate([picture * cover[..., None], 255 * cover[..., None]], axis=2).astype(np.uint8)


def _skin(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) colours of one person's parts."""
    color = np.array([225, 168, 135]) * rng.uniform(0.2, 1.1) * rng.uniform(0.92, 1.08, 3)
    return color * rng.uniform(0.94, 1.04, (count, 1)) * rng.uniform(0.98, 1.02, (count, 3))


def _lit(parts: Sequence[_Capsule], albedo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The capsules from above under a light, each in its colour: (112, 112, 4) uint8, premultiplied."""
    height, owner, cover = _surface(parts)
    smooth, scale = cv2.GaussianBlur(height, (0, 0), 2.0), len(height) / 16
    slope_x, slope_y = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, scale=scale) for dx in (1, 0))
    normal = np.stack([-slope_x, -slope_y, np.ones_like(smooth)], axis=2)
    normal = normal / np.linalg.norm(normal, axis=2, keepdims=True)
    light = np.array([rng.normal(), rng.normal() - 0.5, rng.uniform(0.4, 2.0)])
    facing = np.clip(normal @ (light / np.linalg.norm(light)), 0, 1)
    ambient = rng.uniform(0.25, 0.8)
    crease = np.clip(height - cv2.GaussianBlur(height, (0, 0), 9.0), -0.15, 0) * cover
    shade = (ambient + (1.2 - ambient) * facing) * np.clip(1 + rng.uniform(1, 4) * crease, 0.3, 1)
    gloss = rng.uniform(0, 60) * facing**12
    color = np.clip(albedo[owner] * shade[..., None] + gloss[..., None], 0, 255)
    picture = np.concatenate([color * cover[..., None], 255 * cover[..., None]], axis=2)
    return cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _surface(parts: Sequence[_Capsule]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height, number of the capsule on top, and whether there is any, of (224, 224) pixels."""
    size = 2 * _SIDE
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    height, owner = np.full((size, size), -9, np.float32), np.zeros((size, size), np.intp)
    for k, (x0, y0, r0, x1, y1, r1, above) in enumerate(parts):
        way_x, way_y = x1 - x0, y1 - y0
        squared = max(way_x**2 + way_y**2, 1e-6)
        along = np.clip(((x - x0) * way_x + (y - y0) * way_y) / squared, 0, 1)
        apart = (x - x0 - along * way_x) ** 2 + (y - y0 - along * way_y) ** 2
        inner = (r0 + (r1 - r0) * along) ** 2 - apart
        top = np.where(inner > 0, np.sqrt(np.maximum(inner, 0)) + above, -9)
        owner[top > height] = k
        height = np.maximum(height, top).astype(np.float32)
    cover = (height > -9).astype(np.float32)
    return np.where(cover > 0, height, 0).astype(np.float32), owner, cover
