"""What ROS users expect of cv_bridge, tf_transformations and sensor_msgs_py, stand-ins or real."""

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
cv_bridge = pytest.importorskip("cv_bridge")
transformations = pytest.importorskip("tf_transformations")
point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2")

from sensor_msgs.msg import Image, PointField  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

RANDOM = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [("bgr8", np.uint8, 3), ("mono8", np.uint8, 1), ("mono16", np.uint16, 1), ("32FC1", np.float32, 1)],
)
def test_images_survive_the_bridge(encoding, dtype, channels):
    shape = (6, 8) if channels == 1 else (6, 8, channels)
    image = (RANDOM.random(shape) * 255).astype(dtype)
    bridge = cv_bridge.CvBridge()
    message = bridge.cv2_to_imgmsg(image, encoding, header=Header(frame_id="camera"))
    assert (message.encoding, message.header.frame_id) == (encoding, "camera")
    assert message.step == 8 * channels * image.itemsize
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(message), image)


def test_bridge_converts_colours():
    bgr = RANDOM.integers(0, 255, (4, 5, 3), np.uint8)
    bridge = cv_bridge.CvBridge()
    np.testing.assert_array_equal(
        bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(bgr, "bgr8"), "rgb8"), bgr[..., ::-1]
    )


def test_bridge_leaves_out_the_padding_of_rows():
    rows = RANDOM.integers(0, 255, (4, 16), np.uint8)
    message = Image(height=4, width=5, encoding="bgr8", step=16, data=rows.tobytes())
    image = cv_bridge.CvBridge().imgmsg_to_cv2(message)
    np.testing.assert_array_equal(image, rows[:, :15].reshape(4, 5, 3))


def test_bridge_swaps_foreign_byte_order():
    message = Image(height=1, width=2, encoding="mono16", step=4, is_bigendian=1, data=[1, 2, 3, 4])
    np.testing.assert_array_equal(cv_bridge.CvBridge().imgmsg_to_cv2(message), [[0x0102, 0x0304]])


def test_bridge_refuses_nonsense():
    bridge = cv_bridge.CvBridge()
    with pytest.raises(cv_bridge.CvBridgeError):
        bridge.cv2_to_imgmsg(np.zeros((4, 4, 3), np.uint8), "mono8")
    with pytest.raises(cv_bridge.CvBridgeError):
        bridge.imgmsg_to_cv2(
            Image(height=1, width=1, encoding="bgr8", step=3, data=[1, 2, 3]), "no such thing"
        )


def test_lossless_compression_survives_the_bridge():
    image = RANDOM.integers(0, 255, (6, 8, 3), np.uint8)
    bridge = cv_bridge.CvBridge()
    message = bridge.cv2_to_compressed_imgmsg(image, "png")
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message), image)


def test_quaternions_are_xyzw():
    quaternion = transformations.quaternion_from_euler(0.0, 0.0, math.pi / 2)
    np.testing.assert_allclose(quaternion, [0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)], atol=1e-12)
    rotated = transformations.quaternion_matrix(quaternion) @ [1.0, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(rotated, [0.0, 1.0, 0.0, 1.0], atol=1e-12)


def test_rotations_agree_with_each_other():
    angles = (0.3, -0.4, 1.2)
    matrix = transformations.euler_matrix(*angles)
    quaternion = transformations.quaternion_from_matrix(matrix)
    np.testing.assert_allclose(transformations.euler_from_quaternion(quaternion), angles, atol=1e-9)
    np.testing.assert_allclose(transformations.euler_from_matrix(matrix), angles, atol=1e-9)
    product = transformations.quaternion_multiply(quaternion, transformations.quaternion_inverse(quaternion))
    np.testing.assert_allclose(np.abs(product), [0.0, 0.0, 0.0, 1.0], atol=1e-9)


def test_clouds_are_read_as_they_were_made():
    points = RANDOM.random((1220, 3)).astype(np.float32)
    cloud = point_cloud2.create_cloud_xyz32(Header(frame_id="camera"), points)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 1220, 12, 12 * 1220)
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud, ["x", "y", "z"]), points)


def test_clouds_skip_points_without_a_value():
    points = np.array([[0.0, 1.0, 2.0], [np.nan, 1.0, 2.0]], np.float32)
    cloud = point_cloud2.create_cloud_xyz32(Header(), points)
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == 1


def test_clouds_with_fields_of_several_types():
    fields = [
        PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
        PointField(name="id", offset=4, datatype=PointField.UINT32, count=1),
    ]
    cloud = point_cloud2.create_cloud(Header(), fields, [(0.5, 7), (1.5, 8)])
    read = point_cloud2.read_points(cloud)
    np.testing.assert_array_equal(read["x"], np.array([0.5, 1.5], np.float32))
    np.testing.assert_array_equal(read["id"], np.array([7, 8], np.uint32))
