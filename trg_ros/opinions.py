"""The network's two opinions on the 68 landmarks: one from its dense 3D landmarks, one from its 2D head.

Together they say how sure it is that there is a face, where to look for it next, and how sure its pose is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.protocol import NetworkResult
from trg_ros.crop import CropWindows

Array = NDArray[np.float64]

#: ``measured_errors`` entry of a checkpoint: how far apart the opinions (see :func:`consistency`) are on
#: held-out heads; median of the mean distances, over the crop's side.
DISAGREEMENT = "landmarks68_disagreement"
USUAL_DISAGREEMENT = 0.04  # of a checkpoint that doesn't say
_HALF_SCORE = 2.5  # times as far apart as usual scores 0.5
_MIN_DEPTH = 1e-3  # metres, of landmarks in front of the camera


@dataclass(frozen=True)
class Opinions:
    """Both opinions in N windows; landmarks last, as sums over them are quickest so.

    :param points: (N, 3, 68) the dense landmarks in the virtual camera, metres.
    :param depth: (N, 1, 68) theirs, at least a millimetre.
    :param in_crop: (N, 2, 68) where they are in the crop, x, y in [-1, 1].
    :param apart: (N, 2, 68) from where the 2D head sees them to there, same unit; distances: (N, 68) how far.
    """

    points: Array
    depth: Array
    in_crop: Array
    apart: Array
    distances: Array

    @classmethod
    def of(cls, result: NetworkResult, windows: CropWindows) -> Opinions:
        """Both opinions of a network's N answers to the crops of N windows."""
        points = result.rotation.astype(np.float64) @ result.landmarks68_head.transpose(0, 2, 1)
        points += result.translation[:, :, None]
        depth = np.maximum(points[:, 2:], _MIN_DEPTH)
        in_crop = points[:, :2] / depth
        in_crop -= windows.center[:, :, None]
        in_crop *= (2.0 / windows.size)[:, None, None]
        apart = in_crop - result.landmarks68_crop.transpose(0, 2, 1)
        return cls(points, depth, in_crop, apart, np.sqrt((apart * apart).sum(axis=1)))

    @property
    def mean_distance(self) -> Array:
        """(N,) in parts of the crop's side."""
        return self.distances.sum(axis=1) / (2 * self.distances.shape[1])

    def implied_windows(self, result: NetworkResult, windows: CropWindows) -> CropWindows:
        """Where the face is, upright: its size from the dense landmarks, its place from the 2D head.

        The dense landmarks follow a face that is off the crop's centre only part of the way, and looking
        where they are, again and again, walks off the face; the 2D head sees where it is, but not its size.
        """
        shift = self.apart.sum(axis=2) * (-0.5 / self.apart.shape[2] * windows.size)[:, None]
        moved = self.points.copy()
        moved[:, :2] += shift[:, :, None] * moved[:, 2:]
        up = -(windows.camera_R_virtual @ result.rotation[:, :, 1:2])[..., 0]
        return CropWindows.from_landmarks68((windows.camera_R_virtual @ moved).transpose(0, 2, 1), up)


def consistency(distance: Array, usual: float = USUAL_DISAGREEMENT) -> Array:
    """(N,) 0..1: how well the two opinions agree.

    Without a face they are several times as far apart as on faces. (Where the landmarks lie alone says
    little: without a face the network answers with an average one, right in the crop.)

    :param distance: (N,) mean distance of the landmarks, over the crop's side.
    :param usual: the same on faces; 2.5 times that scores 0.5.
    """
    return np.fmax(1.0 / (1.0 + (distance / (_HALF_SCORE * usual)) ** 4), 0.0)  # NaN becomes 0
