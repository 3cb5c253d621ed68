"""Image messages to numpy arrays, by rosbags-image."""

import sys

import cv2
import numpy as np
from rosbags.image import ImageError
from rosbags.image.image import convert_color, to_cvtype
from sensor_msgs.msg import Image


class CvBridgeError(TypeError):
    """A conversion that is not possible."""


class CvBridge:
    """Converts sensor_msgs images to numpy arrays as OpenCV uses them."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """:return: (H, W) or (H, W, C) array of the encoding's type; a view where nothing is converted."""
        try:
            _, _, type_name, channels = to_cvtype(img_msg.encoding)
            image = _view(img_msg, np.dtype(type_name), channels)
            if desired_encoding == "passthrough":
                return image
            return convert_color(image, img_msg.encoding, desired_encoding)
        except (ImageError, ValueError, TypeError, cv2.error) as error:
            raise CvBridgeError(str(error)) from error


def _view(message: Image, dtype: np.dtype, channels: int) -> np.ndarray:
    """The pixels as (H, W) or (H, W, C), without the padding of rows, in the byte order of this machine."""
    row = message.width * channels * dtype.itemsize
    if message.step < row:
        raise ValueError(f"step {message.step} is too small for {message.width} pixels of {message.encoding}")
    lines = np.frombuffer(message.data, np.uint8, message.height * message.step)
    pixels = lines.reshape(message.height, message.step)[:, :row]
    if message.step != row:
        pixels = np.ascontiguousarray(pixels)
    image = pixels.view(dtype)
    if dtype.itemsize > 1 and bool(message.is_bigendian) != (sys.byteorder == "big"):
        image = image.byteswap()
    return image if channels == 1 else image.reshape(message.height, message.width, channels)
