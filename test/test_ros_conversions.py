"""Pictures and calibrations from messages: each encoding against a reference, and all that can be wrong."""

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
from ros_bad_inputs import (
    BAD_CAMERA_INFOS,
    BAD_COMPRESSED,
    BAD_IMAGES,
    BadInput,
    camera_info,
    compressed,
    encoded,
    image,
)
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from trg_ros.camera import CameraModel
from trg_ros.errors import CameraError, InputError
from trg_ros.ros.camera_info import camera_model_from_info, info_from_camera_model
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


FUZZED = ["bgr8", "mono16", "bayer_gbrg8", "yuv422", "16UC1", "rgba16", "32FC1", "nv21", "xyz"]
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


@pytest.mark.parametrize(
    "encoding,order", [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv422_gives_the_colours_of_its_definition(encoding: str, order: str) -> None:
    """ITU-R BT.601, video range, two pixels of a pair share their chroma."""
    bgr = np.repeat(picture(6, 4, 5)[:, :, :3] // 2 + 60, 2, axis=1)
    b, g, r = (bgr[:, :, channel].astype(float) for channel in range(3))
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    parts = {"u": u[:, ::2], "v": v[:, ::2]}
    packed = np.empty((6, 16))
    luma, chroma = (1, 0) if order == "uyvy" else (0, 1)
    packed[:, luma::2] = y
    packed[:, chroma::4], packed[:, chroma + 2 :: 4] = parts["u"], parts["v"]
    message = message_of(np.rint(packed).astype(np.uint8), encoding, padding=5)
    message.width = 8
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
    ]

    class CvBridge:
        def imgmsg_to_cv2(self, given: Image, desired_encoding: str) -> np.ndarray:
            assert given is message and desired_encoding == "bgr8"
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    module = types.ModuleType("cv_bridge")
    module.CvBridge, module.CvBridgeError = CvBridge, TypeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    assert (image_to_bgr(message) == 9).all()
    with pytest.raises(InputError, match=r"rare8.*float32"):
        image_to_bgr(message)
    with pytest.raises(InputError, match=r"rare8.*no such thing"):
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


@pytest.mark.parametrize("bad", BAD_IMAGES, ids=str)
def test_bad_images_are_refused_with_a_reason(bad: BadInput) -> None:
    with pytest.raises(InputError) as caught:
        image_to_bgr(bad.message)
    complains(caught.value, bad)


@pytest.mark.parametrize("bad", BAD_COMPRESSED, ids=str)
def test_bad_compressed_images_are_refused_with_a_reason(bad: BadInput) -> None:
    with pytest.raises(InputError) as caught:
        compressed_to_bgr(bad.message)
    complains(caught.value, bad)


@pytest.mark.parametrize("bad", BAD_CAMERA_INFOS, ids=str)
def test_bad_camera_infos_are_refused_with_a_fix(bad: BadInput) -> None:
    with pytest.raises(CameraError) as caught:
        camera_model_from_info(bad.message)
    complains(caught.value, bad)
    assert "assume_fov_deg" in str(caught.value)


def complains(error: Exception, bad: BadInput) -> None:
    text = str(error)
    assert bad.complaint in text, text
    assert "\n" not in text
    assert len(text) < 700


@pytest.mark.fault("random image messages", "nothing but a clear refusal")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_image_message_raises_anything_but_input_error(data: st.DataObject) -> None:
    message = image(
        data.draw(
            st.sampled_from(
                ["bgr8", "mono16", "bayer_gbrg8", "yuv422", "16UC1", "rgba16", "32FC1", "nv21", "xyz"]
            )
        ),
        width=data.draw(st.integers(0, 70)),
        height=data.draw(st.integers(0, 70)),
        size=data.draw(st.integers(0, 30000)),
        step=data.draw(st.integers(0, 600)),
        is_bigendian=data.draw(st.integers(0, 255)),
    )
    try:
        bgr = image_to_bgr(message)
    except InputError:
        return
    assert bgr.shape == (message.height, message.width, 3)
    assert bgr.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 3000), value=st.integers(0, 255), suffix=st.sampled_from([".jpg", ".png"]))
def test_no_compressed_image_raises_anything_but_input_error(position: int, value: int, suffix: str) -> None:
    data = bytearray(encoded(suffix))
    data[position % len(data)] = value
    try:
        bgr = compressed_to_bgr(compressed(bytes(data)))
    except InputError:
        return
    assert bgr.ndim == 3 and bgr.shape[2] == 3


@pytest.mark.parametrize("padding", [b"", b"\0" * 10000, b"\r\n"])
def test_compressed_images_are_decoded(padding: bytes) -> None:
    original = cv2.GaussianBlur(picture(48, 64, 4)[:, :, :3].copy(), (0, 0), 8)
    jpeg = bytes(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    decoded = compressed_to_bgr(compressed(jpeg + padding, "bgr8; jpeg compressed bgr8"))
    np.testing.assert_allclose(decoded.astype(int), original.astype(int), atol=12)
    png = bytes(cv2.imencode(".png", original)[1])
    np.testing.assert_array_equal(compressed_to_bgr(compressed(png + padding, "png")), original)


cameras: Any = st.builds(
    CameraModel.pinhole,
    fx=st.floats(50, 2000),
    fy=st.floats(50, 2000),
    cx=st.floats(0, 640),
    cy=st.floats(0, 480),
    width=st.just(640),
    height=st.just(480),
    distortion=st.sampled_from(
        [None, [0.1, -0.05, 0.001, 0.002, 0.01], [0.1, 0.01, 0.0, 0.0, 0.0, 0.1, 0.0, 0.01]]
    ),
)


@settings(max_examples=30, deadline=None)
@given(camera=cameras)
def test_camera_info_there_and_back(camera: CameraModel) -> None:
    assert camera_model_from_info(info_from_camera_model(camera, 640, 480)) == camera


def test_fisheye_there_and_back() -> None:
    for name in ("equidistant", "fisheye"):
        info = info_from_camera_model(
            CameraModel.pinhole(300, 300, 320, 240, 640, 480, [0.1, 0.0, 0.01, 0.0], "equidistant"), 640, 480
        )
        info.distortion_model = name
        assert camera_model_from_info(info).distortion_model == "equidistant"


def test_roi_and_binning_move_pixels_as_the_message_defines() -> None:
    """pixel of the image = (pixel of the sensor - offset) / binning."""
    full = camera_model_from_info(camera_info())
    windowed = camera_model_from_info(camera_info(roi=(16, 8, 32, 24), binning_x=2, binning_y=4))
    assert (windowed.width, windowed.height) == (16, 6)
    point = np.array([0.05, -0.03, 0.5])
    np.testing.assert_allclose(windowed.project(point), (full.project(point) - (16, 8)) / (2, 4), atol=1e-9)
    assert camera_model_from_info(camera_info(roi=(0, 0, 64, 48), binning_x=1, binning_y=1)) == full


def test_rectified_images_use_p_and_no_distortion() -> None:
    info = camera_info(d=[0.3, 0.1, 0.0, 0.0, 0.0])
    info.p[0], info.p[3] = 55.0, -5.5
    camera = camera_model_from_info(info, rectified=True)
    assert (camera.fx, camera.fy, camera.is_distorted) == (55.0, 60.0, False)
    with pytest.raises(CameraError, match="image_rectified"):
        camera_model_from_info(camera_info(p=[0.0] * 12), rectified=True)


def test_uncalibrated_cameras_have_k_of_zeros() -> None:
    info = info_from_camera_model(None, 64, 48)
    assert (info.width, info.height) == (64, 48)
    with pytest.raises(CameraError, match="zeros"):
        camera_model_from_info(info)
