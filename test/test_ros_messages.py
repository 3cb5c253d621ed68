"""The cloud of landmarks as others read it: fields, ids, an image without faces."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Time
from ros_outputs import cloud_points
from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from trg_ros.ros.messages import landmark_cloud

HEADER = Header(stamp=Time(sec=7), frame_id="camera")


def result_of(landmarks_of: dict[int, np.ndarray]) -> SimpleNamespace:
    heads = [
        SimpleNamespace(id=identity, head=SimpleNamespace(landmarks_camera=landmarks))
        for identity, landmarks in landmarks_of.items()
    ]
    return SimpleNamespace(header=HEADER, heads=heads)


@pytest.mark.parametrize("ids", [(), (5,), (5, 4_000_000_000)])
def test_the_cloud_holds_the_landmarks_of_all_heads(ids: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    landmarks_of = {identity: random.random((11, 3)).astype(np.float32) for identity in ids}
    cloud = landmark_cloud(result_of(landmarks_of))  # type: ignore[arg-type]
    count = 11 * len(ids)
    assert (cloud.header, cloud.height, cloud.width) == (HEADER, 1, count)
    assert (cloud.point_step, cloud.row_step, len(cloud.data)) == (16, 16 * count, 16 * count)
    assert cloud.is_dense and not cloud.is_bigendian
    types = [(field.name, field.offset, field.datatype, field.count) for field in cloud.fields]
    position = [("x", 0), ("y", 4), ("z", 8)]
    assert types == [(*one, PointField.FLOAT32, 1) for one in position] + [("id", 12, PointField.UINT32, 1)]
    points, ids_of_points = cloud_points(cloud)
    assert set(ids_of_points.tolist()) == set(ids)
    for identity, landmarks in landmarks_of.items():
        np.testing.assert_array_equal(points[ids_of_points == identity], landmarks)
