"""What happens to a crop's pixels in training: where its background comes from, what stands in front, blur,
the camera's response. All drawn from the generator that is passed in."""

import math

import cv2
import numpy as np

from trg_ros.synthetic.augmentation import pixel_kernels

_NOISE = np.random.default_rng(7).standard_normal(1 << 18).astype(np.float32)
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def place_background(source: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square window (part of the patch, possibly mirrored and turned by 90 degrees) stretched over
    the crop."""
    side = source * rng.uniform(0.2, 1.0) ** 1.0
    left, top = rng.uniform(0, source - side, 2)
    scale = side / size
    if rng.random() < 0.5:
        return np.array([[-scale, 0, left + side - 1], [0, scale, top]], np.float32)
    return np.array([[scale, 0, left], [0, scale, top]], np.float32)


def draw_occluders(size: float, middle: float, texture: int, rng: np.random.Generator) -> np.ndarray:
    """One or two objects, or a hand (palm and fingers), more often near the border of the face than on it.

    :param size: side of the face's box. :param middle: x and y of its centre; pixels both.
    """
    angle, radius = rng.uniform(0, 2 * math.pi), size * rng.uniform(0.08, 0.6)
    x, y = middle + math.cos(angle) * radius, middle + math.sin(angle) * radius
    skin = np.array([225, 170, 130]) * rng.uniform(0.2, 1.1) * rng.uniform(0.9, 1.1, 3)
    soft = rng.uniform(0.7, 2.5)
    offset = rng.uniform(0.2, 0.8, 2) * texture
    rows = []
    if rng.random() < 0.35:
        turn, scale = rng.uniform(0, 2 * math.pi), size * rng.uniform(0.12, 0.28)
        rows.append(
            [0, x, y, scale * 0.55, scale * 0.5, math.cos(turn), math.sin(turn), soft, *skin, 0.05, *offset]
        )
        for finger in range(4):
            spread = turn + (finger - 1.5) * rng.uniform(0.12, 0.3)
            length = scale * rng.uniform(0.4, 0.6)
            fx, fy = x + math.cos(spread) * scale * 0.9, y + math.sin(spread) * scale * 0.9
            width = scale * 0.13
            rows.append(
                [1, fx, fy, length, width, math.cos(spread), math.sin(spread), soft, *skin, 0.05, *offset]
            )
    else:
        for _ in range(rng.integers(1, 3)):
            turn = rng.uniform(0, math.pi)
            a, b = size * rng.uniform(0.04, 0.28, 2)
            color = skin if rng.random() < 0.25 else rng.uniform(0, 255, 3)
            mix = 1.0 if rng.random() < 0.45 else rng.uniform(0, 0.3)
            kind = rng.integers(3)
            rows.append([kind, x, y, a, b, math.cos(turn), math.sin(turn), soft, *color, mix, *offset])
            x, y = x + rng.normal() * size * 0.2, y + rng.normal() * size * 0.2
    return np.array(rows, np.float32).reshape(-1, pixel_kernels.OCCLUDER_COLUMNS)


def blur(image: np.ndarray, face: float, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Defocus, low resolution, motion; ``face`` is the side of the face's box in pixels."""
    size = image.shape[0]
    if rng.random() < 0.3 * strength:
        sigma = rng.uniform(0.3, 1.6) * face / 80
        reach = 2 * math.ceil(2.2 * sigma) + 1
        image = cv2.GaussianBlur(image, (reach, reach), sigma)
    if rng.random() < 0.18 * strength:
        small = max(10, int(size * rng.uniform(0.2, 0.8)))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.08 * strength:
        reach = int(rng.integers(3, max(4, int(face // 9))))
        kernel = np.zeros((reach, reach), np.float32)
        angle, half = rng.uniform(0, math.pi), reach / 2
        dx, dy = half * math.cos(angle), half * math.sin(angle)
        cv2.line(kernel, (int(half - dx), int(half - dy)), (int(half + dx), int(half + dy)), 1.0)
        image = cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6))
    return image


def develop(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Camera response: contrast about the mean, brightness, colour cast, saturation, grey or infrared, gamma,
    noise."""
    gain, offset = np.ones(3, np.float32), 0.0
    saturation, gray_weights, gamma, noise = 1.0, _LUMINANCE, 1.0, 0.0
    if rng.random() < 0.7 * strength:
        contrast, mean = rng.uniform(0.55, 1.35), float(image[::4, ::4].mean()) / 255
        gain *= contrast
        offset = mean * (1 - contrast) + rng.uniform(-0.12, 0.12)
    if rng.random() < 0.6 * strength:
        gain = gain * rng.uniform(0.82, 1.18, 3).astype(np.float32)
    if rng.random() < 0.3 * strength:
        saturation = rng.uniform(0, 1.6)
    if rng.random() < 0.1 * strength:
        saturation = 0.0
        gain = np.full(3, gain.mean(), np.float32)
        if rng.random() < 0.5:
            gray_weights = rng.dirichlet([4, 1, 1]).astype(np.float32)
    if rng.random() < 0.7 * strength:
        gamma = math.exp(np.clip(rng.normal() * 0.3, -0.9, 0.9))
    if rng.random() < 0.5 * strength:
        noise = rng.uniform(0, 13)
    out = np.empty(image.shape, np.uint8)
    start, chroma = int(rng.integers(len(_NOISE) - 8)), bool(rng.random() < 0.6)
    pixel_kernels.develop(
        image, gain.astype(np.float32), np.float32(offset), np.float32(saturation),
        gray_weights.astype(np.float32), np.float32(gamma), _NOISE, start, np.float32(noise), chroma, out,
    )  # fmt: skip
    return out
