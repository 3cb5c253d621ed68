"""Rigid transforms -> geometry_msgs/Pose, many at once: most of a message's cost is the quaternion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, Pose, Quaternion

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
