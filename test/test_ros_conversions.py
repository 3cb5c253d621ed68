"""Pictures from messages and back: each encoding against a reference."""

from __future__ import annotations

import sys
import types
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from hypothesis import given, settings
from hypothesis import strategies as st
from ros_bad_inputs import compressed
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from trg_ros.errors import InputError
from trg_ros.ros.conversions import compressed_to_bgr, image_message, image_to_bgr

CHANNELS = {"bgr": [0, 1, 2], "rgb": [2, 1, 0], "bgra": [0, 1, 2, 3], "rgba": [2, 1, 0, 3]}
BAYER = ["rggb", "bggr", "gbrg", "grbg"]


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """(H, W, 4) uint8 noise, B G R A."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)


def message_of(
    pixels: np.ndarray, encoding: str, padding: int = 0, bigendian: bool = False, extra: int = 0
) -> Image:
    """An Image of (H, W[, C]) pixels of 8 or 16 bits, with `padding` bytes behind each row but the last."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if bigendian else "<"))
    height, width = pixels.shape[:2]
    lines = [row.tobytes() for row in rows]
    filler = b"\xee" * padding
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=int(bigendian))
    message.step = len(lines[0]) + padding
    message.data.frombytes(filler.join(lines) + b"\xee" * extra)
    return message


sizes = st.integers(1, 40)
paddings = st.integers(0, 17)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CHANNELS)),
    deep=st.booleans(),
    height=sizes,
    width=sizes,
    padding=paddings,
    bigendian=st.booleans(),
    extra=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_colour_encodings_give_the_colours_that_were_put_in(
    name: str, deep: bool, height: int, width: int, padding: int, bigendian: bool, extra: int, seed: int
) -> None:
    bgra = picture(height, width, seed)
    pixels = bgra[:, :, CHANNELS[name]]
    if deep:
        pixels = pixels.astype(np.uint16) << 8 | 0x5A
    message = message_of(pixels, f"{name}{16 if deep else 8}", padding, bigendian, extra)
    np.testing.assert_array_equal(image_to_bgr(message), bgra[:, :, :3])


@settings(max_examples=40, deadline=None)
@given(
    encoding=st.sampled_from(["mono8", "8UC1", "mono16"]),
    height=sizes,
    width=sizes,
    padding=paddings,
    bigendian=st.booleans(),
    seed=st.integers(0, 99),
)
def test_grey_encodings_give_three_equal_channels(
    encoding: str, height: int, width: int, padding: int, bigendian: bool, seed: int
) -> None:
    grey = picture(height, width, seed)[:, :, 0]
    pixels = grey if "16" not in encoding else grey.astype(np.uint16) << 8 | 0x11
    bgr = image_to_bgr(message_of(pixels, encoding, padding, bigendian))
    np.testing.assert_array_equal(bgr, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_raw_16_bit_sensors_fill_the_range(bits: int) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    message = message_of(grey << (bits - 8), "16UC1", bigendian=True)
    np.testing.assert_array_equal(image_to_bgr(message)[:, :, 1], grey)


@pytest.mark.parametrize("encoding,channels", [("8UC3", 3), ("8UC4", 4)])
def test_opencv_type_names_are_bgr(encoding: str, channels: int) -> None:
    bgra = picture(5, 7, 3)
    np.testing.assert_array_equal(image_to_bgr(message_of(bgra[:, :, :channels], encoding)), bgra[:, :, :3])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", BAYER)
def test_bayer_patterns_give_the_colour_of_the_scene(pattern: str, bits: int) -> None:
    """A scene of one colour, seen through the mosaic that the encoding's name spells row by row."""
    colour = {"b": 200, "g": 120, "r": 40}
    mosaic = np.empty((12, 16), dtype=np.uint16)
    for index, letter in enumerate(pattern):
        mosaic[index // 2 :: 2, index % 2 :: 2] = colour[letter]
    pixels = mosaic.astype(np.uint8) if bits == 8 else mosaic << 8
    bgr = image_to_bgr(message_of(pixels, f"bayer_{pattern}{bits}", padding=3))
    assert bgr.shape == (12, 16, 3)
    np.testing.assert_array_equal(bgr[2:-2, 2:-2].reshape(-1, 3), [[200, 120, 40]] * (8 * 12))


def yuv(bgr: np.ndarray) -> list[np.ndarray]:
    """ITU-R BT.601, video range; three of (H, W)."""
    b, g, r = (bgr[:, :, channel].astype(float) for channel in range(3))
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    return [np.rint(part).astype(np.uint8) for part in (y, u, v)]


@pytest.mark.parametrize(
    "encoding,order", [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv422_gives_the_colours_of_its_definition(encoding: str, order: str) -> None:
    """Two pixels of a pair share their colour."""
    bgr = np.repeat(picture(6, 4, 5)[:, :, :3] // 2 + 60, 2, axis=1)
    y, u, v = yuv(bgr)
    packed = np.empty((6, 16), np.uint8)
    luma, chroma = (1, 0) if order == "uyvy" else (0, 1)
    packed[:, luma::2] = y
    packed[:, chroma::4], packed[:, chroma + 2 :: 4] = u[:, ::2], v[:, ::2]
    message = message_of(packed, encoding, padding=5)
    message.width = 8
    np.testing.assert_allclose(image_to_bgr(message).astype(int), bgr.astype(int), atol=3)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_nv12_gives_the_colours_of_its_definition(encoding: str, padding: int) -> None:
    """2 x 2 pixels share their colour, which stands below the brightness."""
    bgr = np.repeat(np.repeat(picture(4, 5, 6)[:, :, :3] // 2 + 60, 2, axis=0), 2, axis=1)
    y, u, v = yuv(bgr)
    pairs = (u, v) if encoding == "nv12" else (v, u)
    colours = np.stack([part[::2, ::2] for part in pairs], axis=-1).reshape(4, 10)
    message = message_of(np.vstack([y, colours]), encoding, padding)
    message.height = 8
    np.testing.assert_allclose(image_to_bgr(message).astype(int), bgr.astype(int), atol=3)


def test_bgr8_is_a_view_of_the_message() -> None:
    message = message_of(picture(10, 12, 1)[:, :, :3], "bgr8", padding=4)
    bgr = image_to_bgr(message)
    message.data[0] = 7
    assert bgr[0, 0, 0] == 7
    assert np.shares_memory(bgr, np.frombuffer(message.data, np.uint8))


def test_other_encodings_go_through_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    message = message_of(picture(6, 8, 2)[:, :, :3], "bgr8")
    message.encoding = "rare8"
    answers: list[Any] = [
        np.full((6, 8, 3), 9, np.uint8),
        np.zeros((6, 8), np.float32),
        ValueError("no such thing"),
        AttributeError("_ARRAY_API not found"),
    ]

    class CvBridge:
        def imgmsg_to_cv2(self, given: Image, desired_encoding: str) -> np.ndarray:
            assert given is message and desired_encoding == "bgr8"
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    module = types.ModuleType("cv_bridge")
    module.CvBridge = CvBridge  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    assert (image_to_bgr(message) == 9).all()
    with pytest.raises(InputError, match=r"rare8.*float32"):
        image_to_bgr(message)
    with pytest.raises(InputError, match=r"rare8.*no such thing"):
        image_to_bgr(message)
    with pytest.raises(InputError, match=r"cv_bridge can't be loaded.*_ARRAY_API"):
        image_to_bgr(message)
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(InputError, match=r"cv_bridge can't be loaded.*use one of"):
        image_to_bgr(message)


@settings(max_examples=40, deadline=None)
@given(height=sizes, width=sizes, seed=st.integers(0, 99))
def test_image_message_is_read_back_unchanged(height: int, width: int, seed: int) -> None:
    bgr = picture(height, width, seed)[:, ::-1, :3]  # not contiguous
    message = image_message(Header(frame_id="camera"), bgr)
    assert (message.height, message.width, message.step) == (height, width, 3 * width)
    assert len(message.data) == height * width * 3
    np.testing.assert_array_equal(image_to_bgr(message), bgr)


@pytest.mark.parametrize("padding", [b"", b"\0" * 10000, b"\r\n"])
def test_compressed_images_are_decoded(padding: bytes) -> None:
    original = cv2.GaussianBlur(picture(48, 64, 4)[:, :, :3].copy(), (0, 0), 8)
    jpeg = bytes(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    decoded = compressed_to_bgr(compressed(jpeg + padding, "bgr8; jpeg compressed bgr8"))
    np.testing.assert_allclose(decoded.astype(int), original.astype(int), atol=12)
    png = bytes(cv2.imencode(".png", original)[1])
    np.testing.assert_array_equal(compressed_to_bgr(compressed(png + padding, "png")), original)
