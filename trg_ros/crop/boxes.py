"""TRG's boxes: squares around the middle of the 68 landmarks' extent, 1.5 times as large, as in the release.

They lie in an image, in pixels, or on a normalised image plane.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: Side of a box over the larger extent of the 68 landmarks.
LANDMARK_BOX_SCALE = 1.5


def square_box(boxes: ArrayLike, scale: float = 1.0) -> Array:
    """Square boxes (..., 4) LTRB about the centres of ``boxes``; side = ``scale`` times the larger side."""
    boxes = np.asarray(boxes, dtype=np.float64)
    center = 0.5 * (boxes[..., :2] + boxes[..., 2:])
    half = 0.5 * scale * (boxes[..., 2:] - boxes[..., :2]).max(axis=-1, keepdims=True)
    return np.concatenate([center - half, center + half], axis=-1)


def box_from_landmarks68(landmarks68_px: ArrayLike, truncate: bool = False) -> Array:
    """TRG's box (..., 4) LTRB px around 68 image landmarks (..., 68, 2): 1.5 times their larger extent.

    :param truncate: cut the corners to whole pixels, as the paper's release does.
    """
    points = np.asarray(landmarks68_px, dtype=np.float64)
    boxes = square_box(
        np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1), LANDMARK_BOX_SCALE
    )
    return np.trunc(boxes) if truncate else boxes


def centered_box(landmarks68: NDArray) -> NDArray:
    """TRG's box (..., 3) as its centre x, y and its side, around 68 points (..., 68, 2), in their unit."""
    low, high = landmarks68.min(axis=-2), landmarks68.max(axis=-2)
    side = LANDMARK_BOX_SCALE * (high - low).max(axis=-1, keepdims=True)
    return np.concatenate([(low + high) / 2, side], axis=-1)
