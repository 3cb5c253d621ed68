"""Pictures that are damaged, cut or made of noise: each is refused with a reason, none does harm."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from hypothesis import given, settings
from hypothesis import strategies as st
from ros_bad_inputs import (
    BAD_COMPRESSED,
    BAD_IMAGES,
    BadInput,
    assert_complains,
    compressed,
    encoded,
    image,
)

from trg_ros.errors import InputError
from trg_ros.ros.conversions import compressed_to_bgr, image_to_bgr

FUZZED = ["bgr8", "mono16", "bayer_gbrg8", "yuv422", "16UC1", "rgba16", "32FC1", "nv21", "nv24", "xyz"]


@pytest.mark.parametrize("bad", BAD_IMAGES, ids=str)
def test_bad_images_are_refused_with_a_reason(bad: BadInput) -> None:
    with pytest.raises(InputError) as caught:
        image_to_bgr(bad.message)
    assert_complains(caught.value, bad)


@pytest.mark.parametrize("bad", BAD_COMPRESSED, ids=str)
def test_bad_compressed_images_are_refused_with_a_reason(bad: BadInput) -> None:
    with pytest.raises(InputError) as caught:
        compressed_to_bgr(bad.message)
    assert_complains(caught.value, bad)


@pytest.mark.fault("random image messages", "nothing but a clear refusal")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_image_message_raises_anything_but_input_error(data: st.DataObject) -> None:
    message = image(
        data.draw(st.sampled_from(FUZZED)),
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
