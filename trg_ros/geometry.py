"""Rotations, rigid transforms and the named frames of a head.

Conventions: `a_T_b` (4x4) and `a_R_b` (3x3) map b's coordinates into a's, acting on column vectors.
Metres and radians unless a name says otherwise. Functions keep the leading dimensions (...) of their
input; those that accept numpy arrays and torch tensors return what they were given.

Frames
    camera  optical frame of REP 103: x image right, y image down, z forward.
    head    the network's frame: the camera's axes when a person looks straight into the camera, so
            x towards the person's left, y towards the chin, z from the nose into the head.
    face    REP 155: origin at the sellion, x out of the face, y to the person's left, z towards
            the top of the head.
    gaze    the face's origin with optical axes: z along the face's x.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from trg_ros.errors import InputError

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def _constant(rows: list[list[float]]) -> np.ndarray:
    array = np.array(rows)
    array.setflags(write=False)
    return array


# Columns are the face's axes in head coordinates: x = -z_head, y = x_head, z = -y_head.
HEAD_R_FACE = _constant([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
# Columns are the gaze frame's axes in face coordinates: x = -y_face, y = -z_face, z = x_face.
FACE_R_GAZE = _constant([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

_TINY = 1e-12


def library_of(array: Any) -> Any:
    """The library (`torch` or `numpy`) that `array` belongs to; torch isn't imported for numpy's sake."""
    return np if isinstance(array, np.ndarray) else import_module("torch")


def _check_shape(name: str, array: Any, tail: tuple[int, ...]) -> None:
    if tuple(array.shape[-len(tail) :]) != tail:
        expected = ", ".join(["...", *map(str, tail)])
        raise InputError(f"{name} must have shape ({expected}), not {tuple(array.shape)}")


def _normalise(vectors: Array) -> Array:
    """Unit vectors over the last dimension; a zero vector stays zero."""
    norm = (vectors * vectors).sum(-1)[..., None] ** 0.5
    return vectors / norm.clip(_TINY)


def _cross(a: Array, b: Array) -> Array:
    """Cross product over the last dimension, whatever the other sizes are."""
    if isinstance(a, np.ndarray):
        return np.cross(a, b, axis=-1)
    return library_of(a).linalg.cross(a, b, dim=-1)


def rotation_from_6d(rotation_6d: Array) -> Array:
    """Rotation matrices from the continuous 6D representation (Zhou et al., CVPR 2019).

    The six numbers are a 3x2 matrix in row-major order; its columns are orthonormalised by Gram-Schmidt
    and become the first two columns, their cross product the third.

    :param rotation_6d: (..., 6) numpy or torch.
    :returns: (..., 3, 3). Undefined (not a rotation) where the two columns are parallel or zero.
    """
    _check_shape("rotation_6d", rotation_6d, (6,))
    first = _normalise(rotation_6d[..., 0::2])
    second = rotation_6d[..., 1::2]
    second = _normalise(second - (first * second).sum(-1)[..., None] * first)
    return library_of(rotation_6d).stack([first, second, _cross(first, second)], -1)


def make_transform(rotation: Array, translation: Array) -> Array:
    """Rigid transforms (..., 4, 4) from rotations (..., 3, 3) and translations (..., 3); they broadcast."""
    _check_shape("rotation", rotation, (3, 3))
    _check_shape("translation", translation, (3,))
    shape: tuple[int, ...] = np.broadcast_shapes(tuple(rotation.shape[:-2]), tuple(translation.shape[:-1]))
    if isinstance(rotation, np.ndarray):
        transform = np.zeros((*shape, 4, 4), np.result_type(rotation, translation))
        transform[..., :3, :3], transform[..., :3, 3], transform[..., 3, 3] = rotation, translation, 1
        return transform
    torch = library_of(rotation)
    rotation = torch.broadcast_to(rotation, (*shape, 3, 3))
    translation = torch.broadcast_to(translation, (*shape, 3))
    upper = torch.cat([rotation, translation[..., None]], -1)
    last_row = torch.zeros_like(upper[..., :1, :])
    last_row[..., 3] = 1
    return torch.cat([upper, last_row], -2)


def invert_transform(transform: Array) -> Array:
    """b_T_a from a_T_b, (..., 4, 4); the rotation part must be orthonormal."""
    _check_shape("transform", transform, (4, 4))
    rotation = transform[..., :3, :3].swapaxes(-1, -2)
    translation = -(rotation @ transform[..., :3, 3:])[..., 0]
    return make_transform(rotation, translation)


def transform_points(transform: Array, points: Array) -> Array:
    """Points (..., P, 3) of frame b in frame a, given a_T_b (..., 4, 4)."""
    _check_shape("transform", transform, (4, 4))
    _check_shape("points", points, (3,))
    return points @ transform[..., :3, :3].swapaxes(-1, -2) + transform[..., None, :3, 3]


def quaternion_xyzw_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) in ROS order x, y, z, w, with w >= 0, from rotations (..., 3, 3).

    Of the four equivalent formulas the one that divides by the largest number is taken (Shepperd 1978),
    so half turns are as accurate as small rotations.
    """
    matrix = np.asarray(rotation, dtype=np.float64)
    _check_shape("rotation", matrix, (3, 3))
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
    trace = diagonal.sum(-1, keepdims=True)
    squares = np.concatenate([1 + 2 * diagonal - trace, 1 + trace], -1)  # 4x^2, 4y^2, 4z^2, 4w^2
    skew = matrix - matrix.swapaxes(-1, -2)  # its entries are 4wx, 4wy, 4wz
    symmetric = matrix + matrix.swapaxes(-1, -2)  # off the diagonal 4xy, 4xz, 4yz
    products = np.empty((*matrix.shape[:-2], 4, 4))
    products[..., :3, :3] = symmetric
    for axis, (row, column) in enumerate([(2, 1), (0, 2), (1, 0)]):
        products[..., axis, 3] = products[..., 3, axis] = skew[..., row, column]
    for axis in range(4):
        products[..., axis, axis] = squares[..., axis]
    best = squares.argmax(-1)[..., None, None]
    quaternion = np.take_along_axis(products, best, axis=-2)[..., 0, :]
    quaternion = np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    return _normalise(quaternion)


def matrix_from_quaternion_xyzw(quaternion: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) from quaternions (..., 4) in ROS order x, y, z, w, of any length.

    :raises InputError: for a quaternion of length zero.
    """
    values = np.asarray(quaternion, dtype=np.float64)
    _check_shape("quaternion", values, (4,))
    if values.size and np.linalg.norm(values, axis=-1).min() < _TINY:
        raise InputError("a quaternion of zeros is no rotation; the identity is (0, 0, 0, 1)")
    x, y, z, w = np.moveaxis(_normalise(values), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def euler_yxz_degrees(rotation: Array) -> Array:
    """Yaw, pitch and roll (..., 3), in this order and in degrees, of rotations (..., 3, 3).

    The evaluation protocol's angles: scipy's extrinsic 'yxz', R = Rz(roll) Rx(pitch) Ry(yaw), about the
    x (image right), y (image down) and z (forward) axes. Pitch is within +-90 degrees; at +-90, where only a
    combination of yaw and roll is defined, roll is zero.
    """
    _check_shape("rotation", rotation, (3, 3))
    library = library_of(rotation)
    cos_pitch = (rotation[..., 2, 0] ** 2 + rotation[..., 2, 2] ** 2) ** 0.5
    pitch = library.arctan2(rotation[..., 2, 1], cos_pitch)
    locked = cos_pitch < 1e-6
    yaw = library.where(
        locked,
        library.arctan2(rotation[..., 0, 2], rotation[..., 0, 0]),
        library.arctan2(-rotation[..., 2, 0], rotation[..., 2, 2]),
    )
    roll = library.arctan2(-rotation[..., 0, 1], rotation[..., 1, 1])
    roll = library.where(locked, library.zeros_like(roll), roll)
    return library.stack([yaw, pitch, roll], -1) * (180.0 / np.pi)


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotations (..., 3, 3) nearest to matrices (..., 3, 3) in the Frobenius norm; of a sum of rotations
    that is their mean."""
    _check_shape("matrix", matrix, (3, 3))
    left, _, right = np.linalg.svd(matrix)
    left[..., 2] *= np.linalg.det(left @ right)[..., None]  # no reflections
    return left @ right


def shortest_turn(rays: np.ndarray) -> np.ndarray:
    """(N, 3, 3) the shortest rotations that take the z axis onto unit rays (N, 3) other than -z."""
    flat, z = rays[:, :2], rays[:, 2]
    turn = np.empty((len(rays), 3, 3))
    turn[:, :2, :2] = np.eye(2) - flat[:, :, None] * (flat / np.maximum(1.0 + z, 1e-12)[:, None])[:, None]
    turn[:, :2, 2], turn[:, 2, :2], turn[:, 2, 2] = flat, -flat, z
    return turn


def geodesic_distance(rotation_a: Array, rotation_b: Array) -> Array:
    """Angle in radians (...), 0 to pi, of the rotation between two rotations (..., 3, 3).

    By the arc tangent, which keeps its precision at both ends, where the arc cosine loses half its digits.
    """
    _check_shape("rotation_a", rotation_a, (3, 3))
    _check_shape("rotation_b", rotation_b, (3, 3))
    library = library_of(rotation_a)
    relative = rotation_a.swapaxes(-1, -2) @ rotation_b
    twice_sine = (
        (relative[..., 2, 1] - relative[..., 1, 2]) ** 2
        + (relative[..., 0, 2] - relative[..., 2, 0]) ** 2
        + (relative[..., 1, 0] - relative[..., 0, 1]) ** 2
    ) ** 0.5
    twice_cosine = relative[..., 0, 0] + relative[..., 1, 1] + relative[..., 2, 2] - 1
    return library.arctan2(twice_sine, twice_cosine)


def head_T_face(sellion_head: Array) -> Array:
    """The REP 155 face frame (..., 4, 4) of a sellion (..., 3) given in head coordinates, metres."""
    _check_shape("sellion_head", sellion_head, (3,))
    if isinstance(sellion_head, np.ndarray):
        return make_transform(HEAD_R_FACE, sellion_head)
    return make_transform(library_of(sellion_head).tensor(HEAD_R_FACE).to(sellion_head), sellion_head)
