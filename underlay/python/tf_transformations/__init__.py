"""Rotations and rigid transforms over transforms3d, for machines without a ROS distribution.

Quaternions are (x, y, z, w) here and (w, x, y, z) in transforms3d; matrices are 4x4; angles are radians.
"""

import numpy as np
from transforms3d import affines, euler, quaternions

__all__ = [
    "euler_from_matrix",
    "euler_from_quaternion",
    "euler_matrix",
    "inverse_matrix",
    "quaternion_conjugate",
    "quaternion_from_euler",
    "quaternion_from_matrix",
    "quaternion_inverse",
    "quaternion_matrix",
    "quaternion_multiply",
    "translation_from_matrix",
    "translation_matrix",
]


def _wxyz(quaternion) -> np.ndarray:
    return np.roll(np.asarray(quaternion, dtype=float), 1)


def _xyzw(quaternion: np.ndarray) -> np.ndarray:
    return np.roll(quaternion, -1)


def _homogeneous(rotation: np.ndarray) -> np.ndarray:
    return affines.compose(np.zeros(3), rotation, np.ones(3))


def quaternion_matrix(quaternion) -> np.ndarray:
    """4x4 transform of a quaternion."""
    return _homogeneous(quaternions.quat2mat(_wxyz(quaternion)))


def quaternion_from_matrix(matrix) -> np.ndarray:
    """Quaternion of the rotation in a 4x4 transform."""
    return _xyzw(quaternions.mat2quat(np.asarray(matrix)[:3, :3]))


def quaternion_multiply(quaternion1, quaternion0) -> np.ndarray:
    """The rotation `quaternion0`, then `quaternion1`."""
    return _xyzw(quaternions.qmult(_wxyz(quaternion1), _wxyz(quaternion0)))


def quaternion_conjugate(quaternion) -> np.ndarray:
    """The conjugate: the inverse rotation of a unit quaternion."""
    return _xyzw(quaternions.qconjugate(_wxyz(quaternion)))


def quaternion_inverse(quaternion) -> np.ndarray:
    """The multiplicative inverse."""
    return _xyzw(quaternions.qinverse(_wxyz(quaternion)))


def quaternion_from_euler(ai, aj, ak, axes="sxyz") -> np.ndarray:
    """Quaternion of three Euler angles."""
    return _xyzw(euler.euler2quat(ai, aj, ak, axes))


def euler_from_quaternion(quaternion, axes="sxyz") -> tuple[float, float, float]:
    """Euler angles of a quaternion."""
    return euler.quat2euler(_wxyz(quaternion), axes)


def euler_matrix(ai, aj, ak, axes="sxyz") -> np.ndarray:
    """4x4 transform of three Euler angles."""
    return _homogeneous(euler.euler2mat(ai, aj, ak, axes))


def euler_from_matrix(matrix, axes="sxyz") -> tuple[float, float, float]:
    """Euler angles of the rotation in a 4x4 transform."""
    return euler.mat2euler(np.asarray(matrix)[:3, :3], axes)


def translation_matrix(direction) -> np.ndarray:
    """4x4 transform of a translation (x, y, z)."""
    return affines.compose(np.asarray(direction, dtype=float)[:3], np.eye(3), np.ones(3))


def translation_from_matrix(matrix) -> np.ndarray:
    """The translation (x, y, z) of a 4x4 transform."""
    return np.array(matrix, copy=True)[:3, 3]


def inverse_matrix(matrix) -> np.ndarray:
    """The inverse of a square matrix."""
    return np.linalg.inv(matrix)
