"""Rotations over transforms3d, for machines without a ROS distribution.

Quaternions are (x, y, z, w) here and (w, x, y, z) in transforms3d; matrices are 4x4.
"""

import numpy as np
import numpy.typing as npt
from transforms3d import affines, quaternions

__all__ = ["quaternion_from_matrix", "quaternion_matrix"]


def quaternion_matrix(quaternion: npt.ArrayLike) -> np.ndarray:
    """4x4 transform of a quaternion of any length; the identity for one of zeros."""
    rotation = quaternions.quat2mat(np.roll(np.asarray(quaternion, dtype=float), 1))
    return affines.compose(np.zeros(3), rotation, np.ones(3))


def quaternion_from_matrix(matrix: npt.ArrayLike) -> np.ndarray:
    """Quaternion, w >= 0, of the rotation in a 4x4 transform."""
    return np.roll(quaternions.mat2quat(np.asarray(matrix)[:3, :3]), -1)
