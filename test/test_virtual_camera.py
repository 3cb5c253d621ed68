"""The virtual camera's motion is known: pixels, intrinsics and rotation have to tell the same story."""

import cv2
import numpy as np
import pytest

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError
from trg_ros.media.virtual_camera import CameraPath, VirtualCamera

TIMES = (0.0, 0.4, 1.7, 3.1, 8.8, 123.4)


def photo_with_blobs(width=800, height=600, focal=900.0, seed=0):
    """A black photo with soft white blobs whose centres are known to a fraction of a pixel."""
    centres = np.random.default_rng(seed).uniform([300, 200], [500, 400], (6, 2))
    y, x = np.mgrid[:height, :width]
    grey = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 3.0**2)) for u, v in centres)
    photo = np.repeat((255 * np.clip(grey, 0, 1))[..., None], 3, axis=2).astype(np.uint8)
    camera = CameraModel.pinhole(focal, 1.1 * focal, 410.0, 290.0, width, height)
    return photo, camera, centres


def centroid_near(image, point, reach=14):
    """Intensity-weighted centre of the window around `point`."""
    left, top = np.round(point).astype(int) - reach
    window = image[top : top + 2 * reach + 1, left : left + 2 * reach + 1, 0].astype(float)
    y, x = np.mgrid[top : top + window.shape[0], left : left + window.shape[1]]
    return np.array([np.sum(x * window), np.sum(y * window)]) / np.sum(window)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("size", [(640, 480), (320, 400)])
def test_pixels_go_where_rotation_and_intrinsics_say(t, size):
    photo, photo_camera, _ = photo_with_blobs()
    blob = np.array([[402.25, 307.5]])
    y, x = np.mgrid[:600, :800]
    grey = 255 * np.exp(-((x - blob[0, 0]) ** 2 + (y - blob[0, 1]) ** 2) / 18.0)
    photo[:] = grey[..., None].astype(np.uint8)
    image, camera, R_virtual_photo = VirtualCamera(photo, photo_camera, size).frame(t)

    rays_photo = np.concatenate([photo_camera.unproject(blob), np.ones((1, 1))], axis=1)
    expected = camera.project(rays_photo @ R_virtual_photo.T)[0]

    assert image.shape == (size[1], size[0], 3) and image.dtype == np.uint8
    background = np.array([48, 44, 40])
    image = np.where(np.abs(image.astype(int) - background).max(axis=2, keepdims=True) <= 1, 0, image)
    assert centroid_near(image, expected) == pytest.approx(expected, abs=0.15)


def test_matches_the_homography_written_out():
    photo, photo_camera, centres = photo_with_blobs()
    view = VirtualCamera(photo, photo_camera).frame(2.3)
    homography = view.camera.K @ view.R_virtual_photo @ np.linalg.inv(photo_camera.K)
    by_homography = cv2.perspectiveTransform(centres[None], homography)[0]
    rays = np.concatenate([photo_camera.unproject(centres), np.ones((len(centres), 1))], axis=1)
    assert by_homography == pytest.approx(view.camera.project(rays @ view.R_virtual_photo.T), abs=1e-9)


@pytest.mark.parametrize("t", TIMES)
def test_rotation_is_one_and_the_path_stays_within_its_amplitudes(t):
    photo, camera, _ = photo_with_blobs()
    path = CameraPath(pan_deg=5.0, tilt_deg=0.0, roll_deg=0.0, zoom=1.5)
    virtual = VirtualCamera(photo, camera, path=path)
    rotation = virtual.rotation(t)
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    turned = rotation @ virtual.rotation(0.0).T
    assert np.rad2deg(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1))) <= 5.0 + 1e-9
    assert 1 / 1.5 - 1e-9 <= virtual.camera(t).fx / virtual.camera(0.0).fx <= 1.5 + 1e-9


@pytest.mark.parametrize(
    ("path", "t", "moved"),
    [
        (CameraPath(pan_deg=5, tilt_deg=0, roll_deg=0, pan_period_s=4), 1.0, (-1, 0)),
        (CameraPath(pan_deg=0, tilt_deg=5, roll_deg=0, tilt_period_s=4), 1.0, (0, 1)),
    ],
)
def test_turning_right_or_up_moves_the_scene_left_or_down(path, t, moved):
    photo, camera, _ = photo_with_blobs()
    virtual = VirtualCamera(photo, camera, path=path)
    ahead_at_rest = virtual.rotation(0.0).T @ [0.0, 0.0, 1.0]
    seen = virtual.camera(t).project((virtual.rotation(t) @ ahead_at_rest)[None])[0]
    middle = np.array([319.5, 239.5])
    assert np.sign(np.round(seen - middle, 6)) == pytest.approx(moved)


@pytest.mark.parametrize("t", TIMES)
def test_the_horizon_stays_level_while_it_turns_and_tilts(t):
    photo, camera, _ = photo_with_blobs()
    virtual = VirtualCamera(photo, camera, path=CameraPath(pan_deg=20, tilt_deg=15, roll_deg=0))
    turned = virtual.rotation(t) @ virtual.rotation(0.0).T
    to_the_right = turned.T @ [1.0, 0.0, 0.0]
    assert to_the_right[1] == pytest.approx(0.0, abs=1e-12)


def test_positive_roll_is_clockwise_from_behind_the_camera():
    photo, camera, _ = photo_with_blobs()
    path = CameraPath(pan_deg=0, tilt_deg=0, roll_deg=10, roll_period_s=4)
    virtual = VirtualCamera(photo, camera, path=path)
    turned = virtual.rotation(1.0) @ virtual.rotation(0.0).T
    # What was to the right is now seen higher: the scene turns the other way.
    assert (turned @ [1.0, 0.0, 0.0])[1] == pytest.approx(-np.sin(np.deg2rad(10)))


def test_looks_at_the_target_at_rest():
    photo, camera, _ = photo_with_blobs()
    virtual = VirtualCamera(photo, camera, target_px=(500.0, 100.0))
    ray = np.append(camera.unproject(np.array([[500.0, 100.0]]))[0], 1.0)
    seen = virtual.camera(0.0).project((virtual.rotation(0.0) @ ray)[None])[0]
    assert seen == pytest.approx([319.5, 239.5])


def test_a_large_photo_is_not_aliased():
    camera = CameraModel.from_fov(50.0, 4000, 3000)
    stripes = np.zeros((3000, 4000, 3), np.uint8)
    stripes[:, ::2] = 255
    image = VirtualCamera(stripes, camera, (320, 240), path=CameraPath(0, 0, 0)).frame(0.0).image_bgr
    assert np.ptp(image[40:-40, 40:-40].astype(int)) <= 8


@pytest.mark.parametrize(
    "make",
    [
        lambda photo, camera: VirtualCamera(photo.astype(float), camera),
        lambda photo, camera: VirtualCamera(photo[..., 0], camera),
        lambda photo, camera: VirtualCamera(photo[:100], camera),
        lambda photo, camera: VirtualCamera(
            photo, CameraModel.pinhole(900, 900, 400, 300, 800, 600, [0.1, 0, 0, 0, 0])
        ),
    ],
)
def test_refuses_what_makes_no_sense(make):
    photo, camera, _ = photo_with_blobs()
    with pytest.raises(InputError):
        make(photo, camera)
