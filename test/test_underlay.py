"""What the node expects of cv_bridge, sensor_msgs_py and tf_transformations, stand-ins or real."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
cv_bridge = pytest.importorskip("cv_bridge")
point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2")
transformations = pytest.importorskip("tf_transformations")

from sensor_msgs.msg import Image, PointField  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

RANDOM = np.random.default_rng(5)


def message_of(image: np.ndarray, encoding: str, **fields: int) -> Image:
    step = fields.pop("step", image.strides[0])
    height, width = image.shape[0], fields.pop("width", image.shape[1])
    return Image(height=height, width=width, encoding=encoding, step=step, data=image.tobytes(), **fields)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [("bgr8", np.uint8, 3), ("mono8", np.uint8, 1), ("mono16", np.uint16, 1), ("32FC1", np.float32, 1)],
)
def test_bridge_gives_the_pixels_as_they_are(encoding, dtype, channels):
    shape = (6, 8) if channels == 1 else (6, 8, channels)
    image = (RANDOM.random(shape) * 255).astype(dtype)
    converted = cv_bridge.CvBridge().imgmsg_to_cv2(message_of(image, encoding))
    assert converted.dtype == dtype
    np.testing.assert_array_equal(converted, image)


def test_bridge_converts_colours():
    bgr = RANDOM.integers(0, 255, (4, 5, 3), np.uint8)
    np.testing.assert_array_equal(
        cv_bridge.CvBridge().imgmsg_to_cv2(message_of(bgr, "bgr8"), "rgb8"), bgr[..., ::-1]
    )


def test_bridge_leaves_out_the_padding_of_rows():
    rows = RANDOM.integers(0, 255, (4, 16), np.uint8)
    image = cv_bridge.CvBridge().imgmsg_to_cv2(message_of(rows, "bgr8", width=5))
    np.testing.assert_array_equal(image, rows[:, :15].reshape(4, 5, 3))


def test_bridge_swaps_foreign_byte_order():
    message = Image(height=1, width=2, encoding="mono16", step=4, is_bigendian=1, data=[1, 2, 3, 4])
    np.testing.assert_array_equal(cv_bridge.CvBridge().imgmsg_to_cv2(message), [[0x0102, 0x0304]])


def test_bridge_refuses_nonsense():
    message = message_of(np.zeros((1, 1, 3), np.uint8), "no such thing")
    with pytest.raises(cv_bridge.CvBridgeError):
        cv_bridge.CvBridge().imgmsg_to_cv2(message)


POINT = np.dtype([("x", "<f4"), ("id", "<u4")])
FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="id", offset=4, datatype=PointField.UINT32, count=1),
]


@pytest.mark.parametrize("count", [3, 0])
def test_clouds_hold_the_points_as_they_are(count):
    points = np.zeros(count, POINT)
    points["x"], points["id"] = RANDOM.random(count), np.arange(count) + 7
    cloud = point_cloud2.create_cloud(Header(frame_id="camera"), FIELDS, points)
    assert (cloud.header.frame_id, list(cloud.fields)) == ("camera", FIELDS)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, count, 8, 8 * count)
    assert not cloud.is_bigendian
    np.testing.assert_array_equal(np.frombuffer(bytes(cloud.data), POINT), points)


def test_clouds_refuse_points_of_another_type():
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(Header(), FIELDS, np.zeros(3, [("x", "<f4"), ("id", "<f4")]))


def test_quaternions_are_xyzw():
    quarter_turn = [0.0, 0.0, 0.5**0.5, 0.5**0.5]
    matrix = transformations.quaternion_matrix(quarter_turn)
    expected = [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    np.testing.assert_allclose(transformations.quaternion_from_matrix(matrix), quarter_turn, atol=1e-12)


def test_a_quaternions_length_does_not_matter():
    quaternion = np.array([0.3, -0.5, 0.1, 0.8])
    matrix = transformations.quaternion_matrix(-3 * quaternion)
    unit = quaternion / np.linalg.norm(quaternion)
    np.testing.assert_allclose(transformations.quaternion_from_matrix(matrix), unit, atol=1e-12)
