"""What the node expects of cv_bridge, stand-in or real."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
cv_bridge = pytest.importorskip("cv_bridge")

from sensor_msgs.msg import Image  # noqa: E402

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
