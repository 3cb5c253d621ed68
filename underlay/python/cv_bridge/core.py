"""Image messages to and from numpy arrays, by rosbags-image and OpenCV."""

import sys

import cv2
import numpy as np
from rosbags.image import ImageError, compressed_image_to_cvimage
from rosbags.image.image import convert_color, to_cvtype
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

_NUMPY_TO_CV = {
    "uint8": "8U",
    "int8": "8S",
    "uint16": "16U",
    "int16": "16S",
    "int32": "32S",
    "float32": "32F",
    "float64": "64F",
}


class CvBridgeError(TypeError):
    """A conversion that is not possible."""


class CvBridge:
    """Converts between sensor_msgs images and numpy arrays as OpenCV uses them."""

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

    def cv2_to_imgmsg(
        self, cvim: np.ndarray, encoding: str = "passthrough", header: Header | None = None
    ) -> Image:
        """:param cvim: (H, W) or (H, W, C); `encoding` "passthrough" names only the type (8UC3)."""
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        if encoding == "passthrough":
            if cvim.dtype.name not in _NUMPY_TO_CV:
                raise CvBridgeError(f"no image encoding for arrays of {cvim.dtype}")
            encoding = f"{_NUMPY_TO_CV[cvim.dtype.name]}C{channels}"
        try:
            _, _, type_name, encoding_channels = to_cvtype(encoding)
        except ImageError as error:
            raise CvBridgeError(str(error)) from error
        if (cvim.dtype.name, channels) != (type_name, encoding_channels):
            raise CvBridgeError(
                f"encoding {encoding} is not an array of {cvim.dtype} with {channels} channels"
            )
        message = Image(height=cvim.shape[0], width=cvim.shape[1], encoding=encoding)
        if header is not None:
            message.header = header
        message.is_bigendian = int(sys.byteorder == "big")
        message.step = cvim.shape[1] * channels * cvim.itemsize
        message.data.frombytes(np.ascontiguousarray(cvim).data.cast("B"))
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray:
        """:return: (H, W, 3) BGR or (H, W) grey, as the file says, or in the encoding asked for."""
        wanted = None if desired_encoding == "passthrough" else desired_encoding
        try:
            return compressed_image_to_cvimage(cmprs_img_msg, wanted)
        except (ImageError, AssertionError, cv2.error) as error:
            raise CvBridgeError(f"a {cmprs_img_msg.format!r} image that can't be decoded: {error}") from error

    def cv2_to_compressed_imgmsg(self, cvim: np.ndarray, dst_format: str = "jpg") -> CompressedImage:
        """:param dst_format: file name extension of the image format, without the dot."""
        done, encoded = cv2.imencode(f".{dst_format}", cvim)
        if not done:
            raise CvBridgeError(f"an array of {cvim.dtype}, {cvim.shape}, can't be written as {dst_format}")
        message = CompressedImage(format=dst_format)
        message.data.frombytes(encoded.data.cast("B"))
        return message


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
