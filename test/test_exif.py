"""Focal lengths from EXIF data: synthesised ones, cut and damaged photos."""

import cv2
import numpy as np
import pytest
from cli_files import with_exif

from trg_ros.media.exif import focal_length_px
from trg_ros.media.photo import load_photo

FOCAL_35MM, WIDTH, HEIGHT = 0xA405, 0xA002, 0xA003
JPEG = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
OF_50_MM = 50 * 80 / np.hypot(36, 24)  # the diagonal of 64 x 48 is 80


@pytest.mark.parametrize("order", "><")
def test_the_diagonal_has_the_angle_of_view_of_35_mm_film(order):
    data = with_exif(JPEG, exif={FOCAL_35MM: 50}, order=order)
    assert focal_length_px(data, 64, 48) == pytest.approx(OF_50_MM)
    assert focal_length_px(data, 640, 480) == pytest.approx(10 * OF_50_MM), "resized"
    on_film = with_exif(JPEG, exif={FOCAL_35MM: 36}, order=order)
    assert focal_length_px(on_film, 3600, 2400) == pytest.approx(3600), "film is 36 mm wide"


def test_a_turned_photo_keeps_its_focal_length(tmp_path):
    path = tmp_path / "turned.jpg"
    path.write_bytes(with_exif(JPEG, {0x0112: 6}, {FOCAL_35MM: 50, WIDTH: 64, HEIGHT: 48}))
    photo = load_photo(path)
    assert photo.image_bgr.shape == (64, 48, 3)
    assert photo.focal_length_px == pytest.approx(OF_50_MM)


def test_sizes_may_be_long_numbers():
    sizes = {WIDTH: 4000, HEIGHT: 3000, FOCAL_35MM: 50}
    data = with_exif(JPEG, exif=sizes, formats=[WIDTH, HEIGHT])
    assert focal_length_px(data, 64, 48) == pytest.approx(OF_50_MM)


@pytest.mark.parametrize(
    "data",
    [
        JPEG,
        with_exif(JPEG, {0x0112: 1}),
        with_exif(JPEG, exif={FOCAL_35MM: 0}),
        with_exif(JPEG, exif={FOCAL_35MM: 50, WIDTH: 64, HEIGHT: 36}),
        with_exif(JPEG, exif={FOCAL_35MM: 50}).replace(b"MM\0\x2a", b"XX\0\x2a"),
        with_exif(JPEG, {0x8769: 60000}),
        b"",
    ],
    ids=["no EXIF", "no focal length", "unknown", "cut", "no byte order", "leads nowhere", "empty"],
)
def test_nothing_is_said(data):
    assert focal_length_px(data, 64, 48) is None


def test_no_damage_raises():
    data = with_exif(JPEG, exif={FOCAL_35MM: 50, WIDTH: 64, HEIGHT: 48})
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data[: rng.integers(2, len(data))])
        for place in rng.integers(2, 100, 3):
            if place < len(damaged):
                damaged[place] = rng.integers(256)
        found = focal_length_px(bytes(damaged), 64, 48)
        assert found is None or found > 0
