"""Rigid transforms and messages: many at once, as quaternions are most of a message, or single ones."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, Pose, Quaternion

from trg_ros.errors import InputError
from trg_ros.geometry import quaternion_xyzw_from_matrix


def pose_messages(matrices: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]) -> list[Pose]:
    """N rigid transforms (4, 4), metres -> N poses."""
    if not len(matrices):
        return []
    stack = np.asarray(matrices, dtype=np.float64)
    rows = zip(stack[:, :3, 3].tolist(), quaternion_xyzw_from_matrix(stack[:, :3, :3]).tolist(), strict=True)
    return [
        Pose(position=Point(x=px, y=py, z=pz), orientation=Quaternion(x=x, y=y, z=z, w=w))
        for (px, py, pz), (x, y, z, w) in rows
    ]


def load_tf_transformations(purpose: str) -> ModuleType:
    """The module tf_transformations: quaternions x, y, z, w to and from 4x4 matrices.

    A distribution's transforms3d doesn't load beside a newer NumPy from pip; that must not take down nodes
    that turn nothing.

    :param purpose: who needs it, for the error.
    :raises InputError: where it can't be loaded.
    """
    try:
        import tf_transformations
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{purpose} needs tf_transformations, which can't be loaded ({error}): install it with rosdep or "
            "apt; if NumPy came from pip, 'pip install -U transforms3d' helps"
        ) from error
    return tf_transformations
