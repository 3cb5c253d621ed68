"""PointCloud2 messages to and from numpy arrays."""

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_TYPES: dict[int, np.dtype] = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """The structured type of one point; a field of count n becomes n fields name_0 ... name_{n-1}."""
    names: list[str] = []
    offsets: list[int] = []
    formats: list[np.dtype] = []
    for field in fields:
        dtype = _TYPES[field.datatype]
        for index in range(field.count):
            names.append(field.name if field.count == 1 else f"{field.name}_{index}")
            offsets.append(field.offset + index * dtype.itemsize)
            formats.append(dtype)
    layout: Any = {"names": names, "formats": formats, "offsets": offsets}
    if point_step is not None:
        layout["itemsize"] = point_step
    return np.dtype(layout)


def create_cloud(
    header: Header, fields: Iterable[PointField], points: Iterable, point_step: int | None = None
) -> PointCloud2:
    """A cloud of `points`: (N, F) or (H, W, F) array, structured array, or a list of tuples.

    :raises ValueError: when the points do not have as many values as there are fields
    """
    fields = list(fields)
    dtype = dtype_from_fields(fields, point_step)
    array = np.asarray(points) if isinstance(points, np.ndarray) else np.array(list(points))
    if array.dtype.names is None:
        if array.shape[-1] != len(dtype.names or ()):
            raise ValueError(f"points of shape {array.shape} for {len(dtype.names or ())} fields")
        array = unstructured_to_structured(array, dtype=dtype)
    elif array.dtype != dtype:
        raise ValueError(f"points of type {array.dtype} for fields of type {dtype}")
    height, width = (1, array.size) if array.ndim == 1 else array.shape
    cloud = PointCloud2(header=header, height=height, width=width, fields=fields, is_dense=False)
    cloud.is_bigendian = sys.byteorder != "little"
    cloud.point_step = dtype.itemsize
    cloud.row_step = dtype.itemsize * width
    cloud.data.frombytes(np.ascontiguousarray(array).tobytes())
    return cloud


def create_cloud_xyz32(header: Header, points: Iterable) -> PointCloud2:
    """A cloud of (N, 3) points, float32 x, y, z."""
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    return create_cloud(header, fields, points)


def read_points(
    cloud: PointCloud2,
    field_names: list[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """The points as a structured array (N,), or (H, W) of an organised cloud when asked for."""
    dtype = dtype_from_fields(cloud.fields, cloud.point_step)
    points = np.frombuffer(cloud.data, dtype)
    if bool(cloud.is_bigendian) != (sys.byteorder != "little"):
        points = points.byteswap()
    if field_names is not None:
        points = points[field_names]
    if skip_nans and points.dtype.names:
        points = points[~np.any([np.isnan(points[name]) for name in points.dtype.names], axis=0)]
    if uvs is not None:
        columns_rows = np.asarray(list(uvs))
        points = points[columns_rows[:, 1] * cloud.width + columns_rows[:, 0]]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.height, cloud.width)
    return points


def read_points_numpy(
    cloud: PointCloud2,
    field_names: list[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """The points as a plain array (..., F); the fields must be of one type."""
    return structured_to_unstructured(
        read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud)
    )
