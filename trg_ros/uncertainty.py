"""The learned covariance of a pose: what the uncertainty head reads, and from its frame to the camera's.

The head speaks of the face's origin (the sellion) in the virtual camera that looked: the error of its place
over its depth, and the rotation from the true to the estimated pose about that camera's axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends import NetworkResult
from trg_ros.crop import CropWindows
from trg_ros.model.topology import SELLION
from trg_ros.model.uncertainty import UncertaintyHead

Array = NDArray[np.float64]

#: Jaw, brows, nose, eyes and mouth among the 68.
_PARTS = (0, 17, 27, 36, 48)
_PART_SIZES = np.diff([*_PARTS, 68])
_LEAST = 1e-4  # of a depth or a distance whose logarithm is taken
_NEAR = 0.005  # added to lengths of which less doesn't matter


def uncertainty_inputs(result: NetworkResult, windows: CropWindows) -> Array:
    """(N, 26): where the head is in its window and how it is turned, and how far the two opinions of the
    network on the 68 landmarks are apart, which tells a face seen well from one that is guessed.

    How far the window is off the optical axis and the face off the window's centre tells a first look at a
    sloppy box from one that follows another.
    """
    rotation = result.rotation.astype(np.float64)
    points = result.landmarks68_head @ rotation.transpose(0, 2, 1)
    points += result.translation[:, None]
    depth = np.maximum(points[..., 2:], _LEAST)
    size = windows.size[:, None]
    in_crop = 2 * (points[..., :2] / depth - windows.center[:, None]) / size[..., None]
    apart = in_crop - result.landmarks68_crop
    squares = apart * apart
    distances = squares.sum(axis=2)
    # Sums, as np.mean takes several times as long for so few numbers.
    middle, shift, mean_squares, mean_depth, mean_depth_square = (
        values.sum(axis=1) / 68 for values in (in_crop, apart, squares, depth, depth * depth)
    )
    parts = np.add.reduceat(distances, _PARTS, axis=1) / _PART_SIZES
    lengths = np.concatenate([size, mean_depth * size, np.sqrt(distances).sum(axis=1, keepdims=True) / 68], 1)
    offsets = np.stack([windows.center, middle, shift], axis=1)
    variances = np.concatenate([mean_squares - shift * shift, parts], axis=1)
    return np.concatenate(
        [
            windows.center,
            rotation[:, :, 1],
            rotation[:, :, 2],
            middle,
            shift,
            np.sqrt(np.maximum(mean_depth_square - mean_depth * mean_depth, 0)),
            np.log(np.maximum(lengths, _LEAST)),
            0.5 * np.log(np.maximum(variances, _LEAST**2)),
            np.log(np.sqrt((offsets * offsets).sum(axis=2)) + _NEAR),
        ],
        axis=1,
    )


def face_origin(result: NetworkResult) -> Array:
    """(N, 3) the sellion in the virtual cameras, metres."""
    sellion = result.landmarks68_head[:, SELLION].astype(np.float64)
    return np.einsum("nij,nj->ni", result.rotation, sellion) + result.translation


def learned_covariances(head: UncertaintyHead, result: NetworkResult, windows: CropWindows) -> Array:
    """(N, 6, 6) of x y z (m) and rotations about x y z (rad), camera frame, at the face's origin."""
    factor = head(uncertainty_inputs(result, windows))
    factor[:, :3] *= face_origin(result)[:, 2, None, None]
    camera_R_virtual = windows.camera_R_virtual[:, None]
    factor = (camera_R_virtual @ factor.reshape(-1, 2, 3, 6)).reshape(-1, 6, 6)
    return factor @ factor.transpose(0, 2, 1)
