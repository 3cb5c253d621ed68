"""Is a fast way right? Drawn faces, and what may be between it and the plain one.

Drawn, because nothing else is there wherever the package is. To a trained network they are faces: it answers
them as steadily as photographs, while noise would make any two precisions disagree.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.protocol import NetworkResult

#: The most that half precision may change.
MAX_LANDMARKS_M, MAX_ROTATION_DEG, MAX_TRANSLATION_M = 3e-4, 0.2, 1e-3
MAX_LANDMARKS68_CROP = 0.02  # of the crop's half side
_SIDE = 256
_Colour = tuple[float, float, float]


def probe(count: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crops (N, S, S, 3) uint8 RGB of faces that all differ, and their boxes (N, 3); always the same."""
    random = np.random.default_rng(5)
    faces = [cv2.resize(_face(random), (size, size), interpolation=cv2.INTER_AREA) for _ in range(count)]
    boxes = random.uniform((-0.2, -0.15, 0.12), (0.2, 0.15, 0.4), (count, 3))
    return np.stack(faces).astype(np.uint8), boxes.astype(np.float32)


def disagreement(result: NetworkResult, expected: NetworkResult) -> str | None:
    """How two answers to the same crops differ by more than they may; None if they don't."""
    chord = np.linalg.norm((result.rotation - expected.rotation).reshape(len(result), -1), axis=1)
    angle = np.rad2deg(2 * np.arcsin(np.minimum(chord / np.sqrt(8), 1)))
    differences = {
        ("landmarks", "mm", 1e3): (_most("landmarks_head", result, expected), MAX_LANDMARKS_M),
        ("68 landmarks", "mm", 1e3): (_most("landmarks68_head", result, expected), MAX_LANDMARKS_M),
        ("rotations", "degrees", 1.0): (float(angle.max()), MAX_ROTATION_DEG),
        ("translations", "mm", 1e3): (_most("translation", result, expected), MAX_TRANSLATION_M),
        ("2D landmarks", "half crops", 1.0): (
            _most("landmarks68_crop", result, expected),
            MAX_LANDMARKS68_CROP,
        ),
    }
    for (name, unit, scale), (difference, bound) in differences.items():
        if not difference <= bound:  # NaN isn't either
            far = f"{difference * scale:.3g} {unit}"
            return f"{name} of {len(result)} faces are off by {far}, allowed are {bound * scale:g}"
    return None


def _most(name: str, result: NetworkResult, expected: NetworkResult) -> float:
    return float(np.abs(getattr(result, name) - getattr(expected, name)).max())


def _face(random: np.random.Generator) -> NDArray[np.uint8]:
    """A face in the middle of a window, RGB."""
    image: NDArray[Any] = np.full((_SIDE, _SIDE, 3), random.integers(30, 200, 3), np.uint8)
    skin = tuple(random.uniform((150, 100, 80), (235, 180, 150)).tolist())
    dark, shadow = _times(skin, 0.35), _times(skin, 0.85)
    cv2.ellipse(image, (128, 120), (62, 88), 0, 0, 360, dark, -1, cv2.LINE_AA)
    cv2.ellipse(image, (128, 132), (54, 76), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.ellipse(image, (128 + side * 22, 116), (10, 5), 0, 0, 360, (240, 240, 240), -1, cv2.LINE_AA)
        cv2.circle(image, (128 + side * 22, 116), 5, (50, 30, 20), -1, cv2.LINE_AA)
        cv2.line(image, (128 + side * 12, 101), (128 + side * 34, 100), dark, 4, cv2.LINE_AA)
    cv2.line(image, (128, 112), (125, 142), shadow, 4, cv2.LINE_AA)
    cv2.ellipse(image, (128, 146), (10, 6), 0, 0, 180, dark, 2, cv2.LINE_AA)
    cv2.ellipse(image, (128, 171), (20, 7), 0, 0, 360, (170, 70, 80), -1, cv2.LINE_AA)
    turn: NDArray[Any] = cv2.getRotationMatrix2D(
        (128, 128), random.uniform(-15, 15), random.uniform(0.85, 1.1)
    )
    turn[:, 2] += random.uniform(-12, 12, 2)
    image = cv2.warpAffine(image, turn, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2.5), np.uint8)


def _times(colour: _Colour, factor: float) -> _Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor
