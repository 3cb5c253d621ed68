"""Messages that can't be used: what is wrong with each, and a word that the complaint must contain."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

WIDTH, HEIGHT = 64, 48


@dataclass(frozen=True)
class BadInput:
    name: str
    message: Any
    complaint: str

    def __str__(self) -> str:
        return self.name


def image(encoding: str = "bgr8", width: int = WIDTH, height: int = HEIGHT, **changes: Any) -> Image:
    """A grey picture, with `changes` to the fields; `size` is the number of data bytes."""
    size = changes.pop("size", width * height * 3)
    message = Image(encoding=encoding, width=width, height=height, step=width * 3)
    message.data.frombytes(b"\x80" * size)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def camera_info(**changes: Any) -> CameraInfo:
    """A good calibration, with `changes`; `roi` is (x, y, width, height)."""
    message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    message.p = [60.0, 0.0, 31.5, 0.0, 0.0, 60.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    roi = changes.pop("roi", None)
    if roi is not None:
        message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = roi
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def compressed(data: bytes, image_format: str = "jpeg") -> CompressedImage:
    message = CompressedImage(format=image_format)
    message.data.frombytes(data)
    return message


def encoded(suffix: str, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, noise)[1])


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def jpeg_that_claims(width: int, height: int) -> bytes:
    data = bytearray(encoded(".jpg"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def k_with(index: int, value: float) -> list[float]:
    k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    k[index] = value
    return k


BAD_IMAGES = [
    BadInput("no data", image(size=0), "0 bytes"),
    BadInput("zero width", image(width=0), "no pixels"),
    BadInput("zero height", image(height=0), "no pixels"),
    BadInput("step too small", image(step=100), "step 100"),
    BadInput("step zero", image(step=0), "step 0"),
    BadInput("one byte short", image(size=WIDTH * HEIGHT * 3 - 1), "truncated"),
    BadInput("half the data", image(size=WIDTH * HEIGHT * 3 // 2), "truncated"),
    BadInput("height too large", image(height=HEIGHT + 1, size=WIDTH * HEIGHT * 3), "truncated"),
    BadInput("unknown encoding", image("foo"), "'foo'"),
    BadInput("no encoding", image(""), "''"),
    BadInput("encoding with a blank", image("bgr8 "), "'bgr8 '"),
    BadInput("jpeg in an Image", image("jpeg"), "'jpeg'"),
    BadInput("huge", image(width=100000, height=100000, size=10, step=300000), "100000 x 100000"),
    BadInput("very wide", image(width=20000, height=2, size=120000, step=60000), "20000 x 2"),
    BadInput(
        "largest numbers", image(width=2**32 - 1, height=2**32 - 1, size=10, step=2**32 - 1), "4294967295"
    ),
    BadInput("16 bit with 8 bit data", image("mono16", size=WIDTH * HEIGHT, step=WIDTH), "step 64"),
    BadInput("rgb16 with rgb8 data", image("rgb16", step=WIDTH * 6), "truncated"),
    BadInput("odd yuv422", image("yuv422", width=63, step=126), "odd width"),
    BadInput("odd yuy2", image("yuv422_yuy2", width=63, step=126), "odd width"),
    BadInput("odd nv12", image("nv12", height=47, step=WIDTH), "odd height"),
    BadInput("nv12 without its colours", image("nv12", size=WIDTH * HEIGHT, step=WIDTH), "truncated"),
    BadInput("rgba8 with rgb8 step", image("rgba8"), "step 192"),
    BadInput("floats", image("32FC1", step=WIDTH * 4), "32FC1"),
]

BAD_COMPRESSED = [
    BadInput("nothing", compressed(b""), "no data"),
    BadInput("noise", compressed(bytes(range(256)) * 8), "decoded"),
    BadInput("text", compressed(b"this is not a picture"), "decoded"),
    BadInput("start of a jpeg", compressed(encoded(".jpg")[:200]), "middle of the picture"),
    BadInput("half a jpeg", compressed(encoded(".jpg", 640, 480)[:20000]), "middle of the picture"),
    BadInput("start of a png", compressed(encoded(".png")[:40], "png"), "middle of the picture"),
    BadInput("huge png", compressed(png_that_claims(60000, 60000), "png"), "60000 x 60000"),
    BadInput("huge jpeg", compressed(jpeg_that_claims(65000, 65000)), "65000 x 65000"),
    BadInput("depth", compressed(encoded(".png"), "16UC1; compressedDepth"), "depth"),
]

NAN, INFINITY = float("nan"), float("inf")
BAD_CAMERA_INFOS = [
    BadInput("K of zeros", camera_info(k=[0.0] * 9), "zeros"),
    BadInput("NaN in K", camera_info(k=k_with(0, NAN)), "NaN"),
    BadInput("infinite K", camera_info(k=k_with(4, INFINITY)), "infinity"),
    BadInput("negative focal length", camera_info(k=k_with(0, -60.0)), "-60"),
    BadInput("zero fy", camera_info(k=k_with(4, 0.0)), "fy is 0"),
    BadInput("skew", camera_info(k=k_with(1, 5.0)), "5.0"),
    BadInput("K not homogeneous", camera_info(k=k_with(8, 0.0)), "expected"),
    BadInput("no width", camera_info(width=0), "width"),
    BadInput("no height", camera_info(height=0), "height"),
    BadInput("unknown distortion", camera_info(distortion_model="foo", d=[0.1] * 5), "foo"),
    BadInput("focal length of 0.06 px", camera_info(k=k_with(0, 0.06)), "is it in pixels?"),
    BadInput("endless focal length", camera_info(k=k_with(4, 1e300)), "is it in pixels?"),
    BadInput("NaN in D", camera_info(d=[NAN] * 5), "NaN"),
    BadInput("three coefficients", camera_info(d=[0.1] * 3), "3 coefficients"),
    BadInput("fisheye without D", camera_info(distortion_model="equidistant", d=[]), "0 coefficients"),
    BadInput("roi outside", camera_info(roi=(60, 0, 32, 32)), "region"),
    BadInput("roi offset outside", camera_info(roi=(100, 0, 0, 0)), "region"),
    BadInput("binning leaves nothing", camera_info(binning_x=1000, binning_y=1000), "binned"),
]
"""As camera_model_from_info sees them."""


def assert_complains(error: Exception, bad: BadInput) -> None:
    """One short line, about what is wrong."""
    text = str(error)
    assert bad.complaint in text, text
    assert "\n" not in text
    assert len(text) < 700
