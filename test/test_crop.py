"""Crops: a point lands where the camera model says, whatever the lens; no aliasing; zero outside."""

import numpy as np
import pytest
from lenses import CAMERAS, FOLDING

from trg_ros.camera import CameraModel
from trg_ros.crop import (
    CropWindows,
    crop_camera,
    cut_crops,
    cut_windows,
)
from trg_ros.crop.cutting import _grid
from trg_ros.crop.resampling import block_sizes

SIZE = 128


def blobs(shape, centers, sigma):
    """Image (H, W, 3) with round Gaussian blobs at sub-pixel centres (N, 2)."""
    v, u = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    image = sum(np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma**2)) for x, y in centers)
    return np.repeat(np.rint(240 * np.clip(image, 0, 1))[..., None], 3, axis=2).astype(np.uint8)


def rendered_blob(camera, windows, center, sigma, reach):
    """Image (H, W, 3) of a blob that is round in the crop of the only window, about one image pixel (2,).

    Every image pixel within ``reach`` gets its brightness through its own ray, so the lens bends the blob as
    well.
    """
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    u0, v0 = np.maximum(np.rint(center).astype(int) - reach, 0)
    v, u = np.mgrid[v0 : min(v0 + 2 * reach, camera.height), u0 : min(u0 + 2 * reach, camera.width)]
    offset = in_crop(windows, camera, np.stack([u, v], axis=-1)) - in_crop(windows, camera, center)
    brightness = 240 * np.exp(-0.5 * (np.nan_to_num(offset, nan=1e3) ** 2).sum(axis=-1) / sigma**2)
    image[v, u] = np.rint(brightness)[..., None]
    return image


def centroid(crop, near, radius):
    """Centroid (x, y) of the brightness of crop (S, S, 3) within ``radius`` of ``near``."""
    v, u = np.mgrid[: crop.shape[0], : crop.shape[1]]
    weight = crop[..., 0] * ((u - near[0]) ** 2 + (v - near[1]) ** 2 < radius**2)
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


def landing_errors(camera, windows, pixels):
    """Crop px: where blobs at image pixels (N, 2) are in the only crop, minus where the camera model says."""
    errors = []
    for pixel in pixels:
        reach = int(
            np.ceil(
                24 / np.abs(in_crop(windows, camera, pixel + [1, 0]) - in_crop(windows, camera, pixel)).max()
            )
        )
        crop = cut_windows(rendered_blob(camera, windows, pixel, 6.0, reach), camera, windows, SIZE)[0]
        expected = in_crop(windows, camera, pixel)
        errors.append(centroid(crop, expected, 21) - expected)
    return np.array(errors)


def in_crop(windows, camera, pixels):
    """Where image pixels (..., 2) belong in the crop of the only window, by the camera model alone."""
    local = camera.rays(pixels) @ windows.camera_R_virtual[0]
    plane = local[..., :2] / local[..., 2:]
    return ((plane - windows.center[0]) / windows.size[0] + 0.5) * (SIZE - 1)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize(
    "box", [(250.3, 150.7, 377.3, 277.7), (40.6, 30.2, 190.9, 180.5), (330, 180, 630, 480)]
)
def test_a_point_lands_where_the_model_says(name, box):
    camera = CAMERAS[name]
    windows = CropWindows.from_boxes(camera, [box])
    left, top, right, bottom = box
    fractions = np.array([[0.3, 0.3], [0.71, 0.34], [0.52, 0.53], [0.32, 0.69], [0.68, 0.72]])
    pixels = [left, top] + fractions * [right - left, bottom - top] + [[0.13, 0.41]]
    errors = landing_errors(camera, windows, pixels)
    assert np.abs(errors.mean(axis=0)).max() < 0.02, "no offset"
    assert np.abs(errors).max() < 0.04, (
        "8-bit rounding and bilinear blur move a single blob's centroid this much"
    )


@pytest.mark.parametrize("name", CAMERAS)
def test_positions_are_rounded_to_a_32nd_of_a_pixel_and_no_more(name):
    """On a ramp of 64 grey values a pixel, so that half a 32nd is one grey value."""
    camera = CAMERAS[name]
    box = (200.3, 120.6, 391.3, 311.6)  # one image pixel a sample: where rounded positions would show
    windows = CropWindows.from_boxes(camera, [box])
    steps = np.linspace(-0.5, 0.5, 192)
    plane = windows.center[0] + windows.size[0] * np.stack(np.meshgrid(steps, steps), axis=-1)
    pixels = camera.project(windows.rays(plane[None]))[0]
    v, u = np.mgrid[:480, :640]
    for axis, ramp in enumerate((u, v)):
        image = np.repeat(((ramp % 4) * 64).astype(np.uint8)[..., None], 3, axis=2)
        crop = cut_windows(image, camera, windows, 192)[0, ..., 0].astype(float)
        expected = (pixels[..., axis] % 4) * 64
        smooth = expected < 3 * 64  # not where the ramp starts again
        assert np.abs((crop - expected)[smooth]).max() < 1.01


@pytest.mark.parametrize("name", [*CAMERAS, "folding"])
@pytest.mark.parametrize("side", [40, 350])
def test_every_sample_is_where_the_camera_model_says(name, side):
    """Also those between the few whose pixels are computed, and where the lens sees only some of them."""
    camera = FOLDING if name == "folding" else CAMERAS[name]
    steps = np.linspace(-0.5, 0.5, SIZE)
    seen = 0
    for x, y, angle in ((320, 240, 0.0), (70, 400, 0.4), (600, 60, -0.3)):
        windows = CropWindows.from_boxes(camera, [[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
        cos, sin = np.cos(angle), np.sin(angle)
        turn = windows.camera_R_virtual @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        windows = CropWindows(windows.center, windows.size, turn)
        plane = windows.center[0] + windows.size[0] * np.stack(np.meshgrid(steps, steps), axis=-1)
        expected = camera.project(windows.rays(plane[None]))[0]
        found = np.stack(_grid(camera, windows, SIZE), axis=-1)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        near = np.abs(np.nan_to_num(expected, nan=np.inf)).max(axis=-1) < 2000
        np.testing.assert_allclose(found[near], expected[near], atol=1e-3)
        seen += near.sum()
    assert seen > SIZE**2


def test_release_convention_corner_to_corner():
    """Pixel 0 is the box's left edge and pixel S - 1 its right edge (the paper's release)."""
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    windows = CropWindows.from_boxes(CAMERAS["none"], [[100, 50, 291, 241]])
    crops = cut_crops(image, CAMERAS["none"], windows, 192)
    np.testing.assert_array_equal(crops[0], image[50:242, 100:292, ::-1])
    np.testing.assert_allclose(
        windows.normalised[0], [(195.5 - 319.5) / 600, (145.5 - 239.5) / 600, 191 / 600], rtol=1e-6
    )
    np.testing.assert_array_equal(windows.camera_R_virtual[0], np.eye(3))


def test_the_camera_of_a_crop_takes_it_as_its_picture():
    camera = crop_camera([0.1, -0.2, 0.3], 192)
    corners = camera.project(np.array([[0.1 - 0.15, -0.2 - 0.15, 1.0], [0.1 + 0.15, -0.2 + 0.15, 1.0]]))
    np.testing.assert_allclose(corners, [[0, 0], [191, 191]], atol=1e-9)


def test_focal_lengths_that_differ_are_exact():
    """The same scene seen with twice the horizontal focal length gives the same crop and window."""
    pixels = np.array([[290.4, 200.2], [340.7, 260.9]])
    square, wide = CAMERAS["none"], CameraModel.pinhole(1200, 600, 639.0, 239.5, 1280, 480)
    wide_pixels = wide.project(np.concatenate([square.unproject(pixels), np.ones((2, 1))], axis=1))
    window = CropWindows.from_boxes(square, [[240, 160, 400, 320]])
    wide_window = CropWindows.from_boxes(wide, [[480, 160, 800, 320]])
    np.testing.assert_allclose(wide_window.normalised, window.normalised, rtol=1e-6)
    first = cut_windows(blobs((480, 640), pixels, 5), square, window, SIZE)
    v, u = np.mgrid[:480, :1280].astype(float)
    stretched = sum(np.exp(-(((u - x) / 2) ** 2 + (v - y) ** 2) / 50) for x, y in wide_pixels)
    image = np.repeat(np.rint(240 * stretched)[..., None], 3, 2).astype(np.uint8)
    second = cut_windows(image, wide, wide_window, SIZE)
    assert np.abs(first.astype(int) - second).max() <= 6


def test_half_outside_is_zero_there_and_right_here():
    image = np.full((480, 640, 3), 200, dtype=np.uint8)
    boxes = [[-100, 100, 100, 300], [540, 380, 740, 580], [900, 0, 1000, 100]]
    crops = cut_windows(image, CAMERAS["none"], CropWindows.from_boxes(CAMERAS["none"], boxes), SIZE)
    assert (crops[0, :, :62] == 0).all() and (crops[0, :, 66:] == 200).all()
    assert (crops[1, :62, :62] == 200).all() and (crops[1, 66:] == 0).all() and (crops[1, :, 66:] == 0).all()
    assert (crops[2] == 0).all()


def test_twenty_pixel_face():
    pixels = np.array([[305.4, 204.2]])
    windows = CropWindows.from_boxes(CAMERAS["none"], [[295, 195, 315, 215]])
    crop = cut_windows(blobs((480, 640), pixels, 1.2), CAMERAS["none"], windows, SIZE)[0]
    expected = in_crop(windows, CAMERAS["none"], pixels)[0]
    assert np.abs(centroid(crop, expected, 30) - expected).max() < 0.1, (
        "0.1 crop pixels are 0.016 image pixels here"
    )


@pytest.mark.parametrize("side", [300, 640, 1500, 2100])
def test_large_faces_dont_alias(side):
    """One-pixel stripes in a 4K image average to grey, and points keep their place to 0.015 crop pixels."""
    camera = CameraModel.pinhole(2500, 2500, 1919.5, 1079.5, 3840, 2160)
    box = np.array([1200.5, 20.25, 1200.5 + side, 20.25 + side])
    stripes = np.zeros((2160, 3840, 3), np.uint8)
    stripes[:, ::2] = 255
    windows = CropWindows.from_boxes(camera, [box])
    crop = cut_windows(stripes, camera, windows, SIZE)[0].astype(float)
    assert np.abs(crop[2:-2, 2:-2] - 127.5).max() < 45, "bilinear sampling alone would give 0 and 255"
    errors = landing_errors(
        camera, windows, box[:2] + side * np.array([[0.31, 0.37], [0.66, 0.58], [0.5, 0.71]])
    )
    assert np.abs(errors).max() < 0.025 and np.abs(errors.mean(axis=0)).max() < 0.015


def test_blocks_are_square_unless_the_lens_is_not():
    assert block_sizes(1.51, 1.48) == block_sizes(1.48, 1.51) == (1, 1)
    assert block_sizes(1.52, 1.49) == (2, 2)
    assert block_sizes(2.0, 1.0) == (2, 1)
    assert block_sizes(0.0, 0.2) == (1, 1)


def test_batch_equals_one_by_one():
    image = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    boxes = np.array(
        [[10, 10, 110, 110], [300, 200, 460, 360], [600, 400, 700, 500], [-30, 0, 50, 80]], float
    )
    for camera in CAMERAS.values():
        windows = CropWindows.from_boxes(camera, boxes)
        batch = cut_crops(image, camera, windows, 64)
        for index, box in enumerate(boxes):
            window = CropWindows.from_boxes(camera, box)
            np.testing.assert_array_equal(cut_crops(image, camera, window, 64)[0], batch[index])
            np.testing.assert_array_equal(window.normalised[0], windows.normalised[index])
    assert cut_crops(image, CAMERAS["none"], windows[:0], 64).shape == (0, 64, 64, 3)


def test_row_padding_and_channel_flips_dont_matter():
    padded = np.random.default_rng(1).integers(0, 255, (480, 700, 3), dtype=np.uint8)
    view = padded[:, 20:660][..., ::-1]
    for camera in (CAMERAS["none"], CAMERAS["plumb_bob"]):
        windows = CropWindows.from_boxes(camera, [[100, 100, 500, 420], [-20, 20, 90, 130]])
        expected = cut_crops(np.ascontiguousarray(view), camera, windows, 64)
        np.testing.assert_array_equal(cut_crops(view, camera, windows, 64), expected)


def test_far_off_axis_the_virtual_camera_turns():
    camera = CameraModel.pinhole(300, 300, 639.5, 479.5, 1280, 960, [0.0] * 4, "equidistant")
    ray = np.array([np.sin(np.deg2rad(75)), 0.3, np.cos(np.deg2rad(75))])
    center = camera.project(ray)
    windows = CropWindows.from_boxes(camera, [[*(center - 30), *(center + 30)]])
    np.testing.assert_allclose(windows.center, 0, atol=1e-9)
    np.testing.assert_allclose(windows.camera_R_virtual[0][:, 2], ray / np.linalg.norm(ray), atol=1e-9)
    np.testing.assert_allclose(
        windows.camera_R_virtual[0] @ windows.camera_R_virtual[0].T, np.eye(3), atol=1e-12
    )
    assert np.linalg.det(windows.camera_R_virtual[0]) == pytest.approx(1)
    crop = cut_windows(blobs((960, 1280), center[None], 3), camera, windows, SIZE)[0]
    np.testing.assert_allclose(centroid(crop, [63.5, 63.5], 40), 63.5, atol=0.1)
