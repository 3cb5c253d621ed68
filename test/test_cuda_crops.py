"""Crops made of tensors, as on a GPU, are those of the CPU's cropper, whatever the lens."""

import cv2
import numpy as np
import pytest
import torch
from cuda_rig import CPU, DEVICES

from trg_ros.backends.cuda_crops import DeviceFrame, upload
from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows, cut_crops, cut_windows
from trg_ros.geometry import shortest_turn

CAMERAS = {
    "pinhole": CameraModel.pinhole(600, 470, 310, 250, 640, 480),
    "plumb_bob": CameraModel.pinhole(600, 610, 310, 250, 640, 480, [-0.3, 0.1, 0.002, -0.001, 0.0]),
    "folding": CameraModel.pinhole(300, 310, 310, 250, 640, 480, [-0.3, 0.0, 0.0, 0.0, 0.0]),
    "rational_polynomial": CameraModel.pinhole(
        600, 590, 310, 250, 640, 480, [0.6, -2.9, 0.0004, -0.0002, 1.6, 0.48, -2.7, 1.55]
    ),
    "fisheye": CameraModel.pinhole(260, 262, 322, 243, 640, 480, [0.02, -0.01, 0.003, -0.001], "equidistant"),
}
# One pixel a sample and less, several, different numbers of them, half outside the image.
BOXES = np.array(
    [
        [250.3, 150.7, 377.3, 277.7],
        [300.1, 200.2, 330.4, 230.9],
        [30.6, 30.2, 420.9, 410.5],
        [-120.0, 10.0, 150.0, 280.0],
        [200.0, 20.0, 610.0, 470.0],
        [560.5, 380.5, 680.5, 500.5],
    ]
)


def texture(height=480, width=640, seed=0):
    """Every pixel different, so that a block in the wrong place shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def windows_of(camera, turned):
    windows = CropWindows.from_boxes(camera, BOXES)
    windows = windows[windows.valid]
    if not turned:
        return windows
    rays = windows.rays(windows.center)
    turn = shortest_turn(rays / np.linalg.norm(rays, axis=1, keepdims=True))
    angles = np.linspace(-0.6, 0.6, len(windows))
    roll = np.array([[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angles])
    return CropWindows(np.zeros_like(windows.center), windows.size, turn @ roll)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["boxes", "turned"])
@pytest.mark.parametrize("name", CAMERAS)
def test_crops_are_those_of_the_cpu(name, turned, device):
    camera, image = CAMERAS[name], texture()
    if name == "folding":  # where a lens ends inside a crop, blocks may begin at another pixel
        image = cv2.GaussianBlur(image, (0, 0), 4)
    windows = windows_of(camera, turned)
    assert len(windows) >= 4
    expected = cut_crops(image, camera, windows, 64).astype(int)
    crops = DeviceFrame(image, camera, 64, device).cut(windows)
    assert crops.dtype == torch.uint8 and crops.device.type == device.type
    difference = np.abs(crops.cpu().numpy() - expected)
    assert expected.std() > 15 and difference.mean() < 0.5
    # The CPU counts positions to a 32nd of a pixel, and where the image or the lens ends a sample may fall on
    # either side.
    assert np.mean(difference > 4) < 2e-3, [np.mean(d > 4) for d in difference]


@pytest.mark.parametrize("size", [64, 96, 192])
def test_positions_are_not_rounded(size):
    """On a ramp of 64 grey values a pixel; the CPU rounds to a 32nd of one."""
    v, u = np.mgrid[:480, :640]
    camera = CAMERAS["plumb_bob"]
    windows = windows_of(camera, turned=True)[:1]
    for ramp in (u, v):
        image = np.repeat(((ramp % 4) * 64).astype(np.uint8)[..., None], 3, axis=2)
        crop = DeviceFrame(image, camera, size, CPU).cut(windows).numpy().astype(int)
        expected = cut_windows(image, camera, windows, size)
        assert np.abs(crop - expected).max() <= 3


def test_faces_do_not_change_each_other():
    """However many there are, in whatever order, with whatever blocks."""
    camera, image = CAMERAS["plumb_bob"], texture()
    windows = windows_of(camera, turned=True)
    frame = DeviceFrame(image, camera, 64, CPU)
    together = frame.cut(windows).numpy()
    for index in range(len(windows)):
        np.testing.assert_array_equal(frame.cut(windows[index : index + 1])[0], together[index])
    swapped = np.arange(len(windows))[::-1]
    np.testing.assert_array_equal(frame.cut(windows[swapped]), together[swapped])


def test_what_the_lens_does_not_see_is_black():
    camera = CAMERAS["folding"]
    window = CropWindows(np.array([[1.4, 0.0]]), np.array([0.5]), np.eye(3)[None])
    crop = DeviceFrame(texture(), camera, 64, CPU).cut(window).numpy()
    np.testing.assert_array_equal(crop, cut_crops(texture(), camera, window, 64))
    behind = CropWindows(np.zeros((1, 2)), np.array([0.2]), np.diag([1.0, -1.0, -1.0])[None])
    assert not DeviceFrame(texture(), CAMERAS["pinhole"], 64, CPU).cut(behind).any()


def test_an_image_is_taken_as_it_is():
    """Read-only, as messages are, not contiguous; changed by its owner afterwards."""
    image = texture()
    flipped = image[:, ::-1]
    flipped.setflags(write=False)
    uploaded = upload(flipped, torch.uint8, CPU)
    image[:] = 0
    np.testing.assert_array_equal(uploaded, texture()[:, ::-1])
