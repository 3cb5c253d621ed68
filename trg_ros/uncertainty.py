"""The learned covariance of a pose: what the uncertainty head reads, and from its frame to the camera's.

The head speaks of the face's origin (the sellion) in the virtual camera that looked: the error of its place
over its depth, and the rotation from the true to the estimated pose about that camera's axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.protocol import NetworkResult
from trg_ros.crop import CropWindows
from trg_ros.model.topology import SELLION
from trg_ros.model.uncertainty import INPUTS, UncertaintyHead
from trg_ros.opinions import Opinions

Array = NDArray[np.float64]

#: Jaw, brows, nose, eyes and mouth among the 68.
_PARTS = (0, 17, 27, 36, 48)
_PART_SIZES = np.diff([*_PARTS, 68])
_LEAST = 1e-4  # of a depth or a distance whose logarithm is taken
_NEAR = 0.005  # added to lengths of which less doesn't matter


def uncertainty_inputs(
    result: NetworkResult, windows: CropWindows, opinions: Opinions | None = None
) -> Array:
    """(N, 26): where the head is in its window and how it is turned, and how far the two opinions of the
    network on the 68 landmarks are apart, which tells a face seen well from one that is guessed.

    By column (lengths in the crop are in half sides; logarithms are natural):

    - 0-1 the window's centre on the normalised plane; 2-4, 5-7 the second and third column of the rotation;
    - 8-9 mean place of the landmarks in the crop; 10-11 mean difference between the opinions;
    - 12 standard deviation of the landmarks' depth, metres;
    - 13-15 logarithms of the window's side, of mean depth times that side, of the mean distance between the
      opinions;
    - 16-17 logarithms of the standard deviations of the difference in x and in y; 18-22 of its root mean
      square on jaw, brows, nose, eyes and mouth;
    - 23-25 logarithms of the lengths of columns 0-1, 8-9 and 10-11: a window off the optical axis, or a face
      off the window's centre, tells a first look at a sloppy box from one that follows another.

    :param opinions: those of ``result``, if they are known.
    """
    known = opinions or Opinions.of(result, windows)
    depth, size = known.depth, windows.size
    # One sum, as each of numpy's takes several times as long as so few numbers need.
    means = [known.in_crop, known.apart, known.apart * known.apart, depth, depth * depth]
    mean = np.concatenate(means, axis=1).sum(axis=2) / 68
    middle, shift, mean_squares, mean_depth = mean[:, :2], mean[:, 2:4], mean[:, 4:6], mean[:, 6]
    squares = known.distances * known.distances
    inputs = np.empty((len(windows), INPUTS))
    inputs[:, :2] = windows.center
    inputs[:, 2:5], inputs[:, 5:8] = result.rotation[:, :, 1], result.rotation[:, :, 2]
    inputs[:, 8:10], inputs[:, 10:12] = middle, shift
    inputs[:, 12] = np.sqrt(np.maximum(mean[:, 7] - mean_depth * mean_depth, 0))
    inputs[:, 13], inputs[:, 14], inputs[:, 15] = size, mean_depth * size, 2 * known.mean_distance
    inputs[:, 13:16] = np.log(np.maximum(inputs[:, 13:16], _LEAST))
    inputs[:, 16:18] = mean_squares - shift * shift
    inputs[:, 18:23] = np.add.reduceat(squares, _PARTS, axis=1) / _PART_SIZES
    inputs[:, 16:23] = 0.5 * np.log(np.maximum(inputs[:, 16:23], _LEAST**2))
    offsets = np.stack([windows.center, middle, shift], axis=1)
    inputs[:, 23:] = np.log(np.sqrt((offsets * offsets).sum(axis=2)) + _NEAR)
    return inputs


def face_origin(result: NetworkResult) -> Array:
    """(N, 3) the sellion in the virtual cameras, metres."""
    sellion = result.landmarks68_head[:, SELLION].astype(np.float64)
    return np.einsum("nij,nj->ni", result.rotation, sellion) + result.translation


def learned_covariances(
    head: UncertaintyHead, result: NetworkResult, windows: CropWindows, opinions: Opinions | None = None
) -> Array:
    """(N, 6, 6) of x y z (m) and rotations about x y z (rad), camera frame, at the face's origin.

    :param opinions: those of ``result``, if they are known.
    """
    known = opinions or Opinions.of(result, windows)
    factor = head(uncertainty_inputs(result, windows, known))
    factor[:, :3] *= known.points[:, 2, SELLION, None, None]
    camera_R_virtual = windows.camera_R_virtual[:, None]
    factor = (camera_R_virtual @ factor.reshape(-1, 2, 3, 6)).reshape(-1, 6, 6)
    return factor @ factor.transpose(0, 2, 1)
