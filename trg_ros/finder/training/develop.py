"""What a camera does to a scene: blur, low resolution, contrast, colour, grey looks, gamma, noise, JPEG."""

from __future__ import annotations

import math

import cv2
import numpy as np

_NOISE = np.random.default_rng(11).normal(0, 32, (1 << 20)).clip(-127, 127).astype(np.int8)


def develop(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A worse picture (H, W, 3) uint8 RGB of the scene; ``strength`` scales how likely each fault is."""
    if strength <= 0:
        return image
    height, width = image.shape[:2]
    if rng.random() < 0.35 * strength:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    if rng.random() < 0.15 * strength:
        scale = rng.uniform(0.45, 0.9)
        small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.07 * strength:
        image = _shaken(image, rng)
    image = _recoloured(image, strength, rng)
    if rng.random() < 0.5 * strength:
        image = _noisy(image, rng)
    if rng.random() < 0.4 * strength:
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(25, 95))])[1]
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return image


def _shaken(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    reach = int(rng.integers(3, 8))
    kernel = np.zeros((reach, reach), np.float32)
    angle, middle = rng.uniform(0, math.pi), reach / 2
    dx, dy = middle * math.cos(angle), middle * math.sin(angle)
    cv2.line(kernel, (int(middle - dx), int(middle - dy)), (int(middle + dx), int(middle + dy)), 1.0)
    return cv2.filter2D(image, -1, kernel / max(float(kernel.sum()), 1e-6))


def _recoloured(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Exposure as cameras set it, saturation, contrast; one curve per channel."""
    saturation = rng.uniform(0.2, 1.5) if rng.random() < 0.3 * strength else 1.0
    gray_look = rng.random() < 0.12 * strength
    if gray_look or saturation != 1.0:
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = gray if gray_look else cv2.addWeighted(image, saturation, gray, 1 - saturation, 0)
    contrast = rng.uniform(0.5, 1.35) if rng.random() < 0.6 * strength else 1.0
    shift = rng.uniform(-0.1, 0.1) if rng.random() < 0.5 * strength else 0.0
    cast = rng.uniform(0.82, 1.18, 3) if rng.random() < 0.5 * strength and not gray_look else np.ones(3)
    gamma = math.exp(float(np.clip(rng.normal() * 0.25, -0.7, 0.7)))
    mean = float(image[::8, ::8].mean()) / 255
    exposure = float(np.clip((rng.uniform(0.18, 0.65) / max(mean, 0.01)) ** 0.8, 0.4, 4.0))
    mean = min(mean * exposure, 1.0)
    curve = (np.arange(256)[:, None] / 255 * exposure - mean) * contrast + mean + shift
    curve = np.clip(curve * cast, 0, 1) ** gamma
    return cv2.LUT(image, (255 * curve + 0.5).astype(np.uint8)[None])


def _noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    strength, colored = rng.uniform(0.02, 0.45), rng.random() < 0.6
    count = image.size if colored else image.size // 3
    start = int(rng.integers(0, len(_NOISE) - count))
    noise = _NOISE[start : start + count].reshape(*image.shape[:2], -1)
    noise = noise if colored else np.repeat(noise, 3, axis=2)
    return cv2.addWeighted(image, 1.0, noise, strength, 0.0, dtype=cv2.CV_8U)
