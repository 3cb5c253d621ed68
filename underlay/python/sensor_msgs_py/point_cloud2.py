"""numpy arrays to PointCloud2 messages."""

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_TYPES: dict[int, type[np.generic]] = {
    PointField.INT8: np.int8,
    PointField.UINT8: np.uint8,
    PointField.INT16: np.int16,
    PointField.UINT16: np.uint16,
    PointField.INT32: np.int32,
    PointField.UINT32: np.uint32,
    PointField.FLOAT32: np.float32,
    PointField.FLOAT64: np.float64,
}


def create_cloud(header: Header, fields: Iterable[PointField], points: np.ndarray) -> PointCloud2:
    """A cloud of `points`: (N,) structured array with the names, types and offsets of `fields`."""
    fields = list(fields)
    layout: Any = {
        "names": [field.name for field in fields],
        "formats": [_TYPES[field.datatype] for field in fields],
        "offsets": [field.offset for field in fields],
    }
    if points.dtype != np.dtype(layout):
        raise AssertionError(f"points of type {points.dtype} for fields {layout}")  # as the real one
    cloud = PointCloud2(header=header, height=1, width=len(points), fields=fields, is_dense=False)
    cloud.is_bigendian = sys.byteorder != "little"
    cloud.point_step, cloud.row_step = points.itemsize, points.nbytes
    cloud.data.frombytes(points.tobytes())
    return cloud
