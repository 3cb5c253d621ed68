"""Cameras: exact inverses, agreement with OpenCV, CameraInfo's region of interest and binning, bad values."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trg_ros.camera import CameraModel
from trg_ros.errors import CameraError

PLUMB_BOB = [-0.31, 0.12, 0.0011, -0.0007, -0.02]
RATIONAL = [0.6, -2.9, 0.0004, -0.0002, 1.6, 0.48, -2.7, 1.55]
EQUIDISTANT = [0.08, -0.03, 0.02, -0.006]


def camera(distortion=None, model=None):
    return CameraModel.pinhole(610.0, 590.0, 330.5, 235.25, 640, 480, distortion, model)


CAMERAS = {
    "none": camera(),
    "plumb_bob": camera(PLUMB_BOB),
    "rational_polynomial": camera(RATIONAL),
    "equidistant": CameraModel.pinhole(280.0, 282.0, 319.0, 241.0, 640, 480, EQUIDISTANT, "equidistant"),
}
coefficient = st.floats(-0.5, 0.5)
small = st.floats(-0.01, 0.01)


@st.composite
def cameras(draw):
    focal = draw(st.floats(110, 5000))
    aspect = draw(st.floats(0.5, 2))
    model = draw(st.sampled_from(["none", "plumb_bob", "rational_polynomial", "equidistant"]))
    tangential = [draw(small), draw(small)]
    distortion = {
        "none": list,
        "plumb_bob": lambda: [draw(coefficient), draw(coefficient), *tangential, draw(small)],
        "rational_polynomial": lambda: [
            draw(coefficient),
            draw(coefficient),
            *tangential,
            *[draw(coefficient) for _ in range(4)],
        ],
        "equidistant": lambda: [draw(st.floats(-0.1, 0.1)) for _ in range(4)],
    }[model]()
    cx, cy = draw(st.floats(-100, 2000)), draw(st.floats(-100, 2000))
    return CameraModel.pinhole(focal, focal * aspect, cx, cy, 1280, 720, distortion, model)


@settings(max_examples=150, deadline=None)
@given(cameras(), st.lists(st.tuples(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2)), min_size=1, max_size=20))
def test_unproject_is_the_exact_inverse_of_project(model, xy):
    points = np.concatenate([np.array(xy), np.ones((len(xy), 1))], axis=1)
    pixels = model.project(points)
    pixels = pixels[np.isfinite(pixels).all(axis=1)]
    assume(len(pixels))
    back = model.unproject(pixels)
    again = model.project(np.concatenate([back, np.ones((len(back), 1))], axis=1))
    assert np.abs(again - pixels).max() < 1e-6
    assert np.abs(model.project(model.rays(pixels) * 3.7) - pixels).max() < 1e-6


@settings(max_examples=100, deadline=None)
@given(cameras(), st.lists(st.tuples(st.floats(-600, 1900), st.floats(-400, 1200)), min_size=1, max_size=20))
def test_every_pixel_gets_its_ray_or_nan(model, pixels):
    pixels = np.array(pixels)
    rays = model.rays(pixels)
    valid = np.isfinite(rays).all(axis=1)
    assert np.abs(np.linalg.norm(rays[valid], axis=1) - 1).max(initial=0) < 1e-12
    assert np.abs(model.project(rays[valid]) - pixels[valid]).max(initial=0) < 1e-6


@pytest.mark.parametrize("name", CAMERAS)
def test_project_agrees_with_opencv(name):
    model = CAMERAS[name]
    points = np.random.default_rng(1).uniform([-0.5, -0.4, 0.9], [0.5, 0.4, 2.0], (500, 3))
    if name == "equidistant":
        expected, _ = cv2.fisheye.projectPoints(
            points[None], np.zeros(3), np.zeros(3), model.K, model.distortion
        )
    else:
        expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), model.K, model.distortion)
    assert np.abs(model.project(points) - expected.reshape(-1, 2)).max() < 1e-8


@pytest.mark.parametrize("name", CAMERAS)
def test_unproject_agrees_with_opencv(name):
    model = CAMERAS[name]
    pixels = np.random.default_rng(2).uniform([20, 20], [620, 460], (500, 2))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-12)
    if name == "equidistant":
        if cv2.__version__.startswith("4.5."):
            pytest.skip("this OpenCV's fish-eye ends its iterations early")
        expected = cv2.fisheye.undistortPoints(pixels[None], model.K, model.distortion, criteria=criteria)
    else:
        expected = cv2.undistortPointsIter(
            pixels[:, None], model.K, model.distortion, np.eye(3), np.eye(3), criteria
        )
    assert np.abs(model.unproject(pixels) - expected.reshape(-1, 2)).max() < 1e-8


def test_shapes_are_kept():
    model = CAMERAS["plumb_bob"]
    points = np.ones((2, 5, 3)) * [0.1, 0.2, 1.0]
    assert model.project(points).shape == (2, 5, 2)
    assert model.unproject(np.zeros((4, 2)) + 100).shape == (4, 2)
    assert model.rays([320.0, 240.0]).shape == (3,)
    assert model.project(np.zeros((0, 3))).shape == (0, 2)


def test_what_the_lens_cant_see_is_nan():
    behind = [[0.1, 0.1, -1.0], [0.1, 0.1, 0.0]]
    for name in ("none", "plumb_bob", "rational_polynomial"):
        assert np.isnan(CAMERAS[name].project(behind)).all()
    assert np.isnan(CAMERAS["equidistant"].project([0.0, 0.0, -1.0])).all()
    assert np.isnan(CAMERAS["plumb_bob"].project([3.0, 0.0, 1.0])).all(), "past the fold of a barrel lens"
    assert np.isnan(CAMERAS["plumb_bob"].unproject([5000.0, 240.0])).all()
    assert np.isnan(CAMERAS["none"].project([np.nan, 0.0, 1.0])).all()


def test_fisheye_sees_past_ninety_degrees():
    model = CameraModel.pinhole(200.0, 200.0, 500.0, 500.0, 1000, 1000, [0.0] * 4, "equidistant")
    ray = np.array([np.sin(np.deg2rad(100)), 0.0, np.cos(np.deg2rad(100))])
    pixel = model.project(ray * 2)
    np.testing.assert_allclose(pixel, [500 + 200 * np.deg2rad(100), 500.0])
    np.testing.assert_allclose(model.rays(pixel), ray, atol=1e-12)
    assert np.isnan(model.unproject(pixel)).all(), "no such point on the normalised plane"


def test_region_of_interest_and_binning_follow_camera_info():
    full = camera(PLUMB_BOB)
    part = full.with_roi(100, 60, 400, 300).binned(2, 3)
    points = np.random.default_rng(3).uniform([-0.2, -0.2, 1.0], [0.2, 0.2, 2.0], (50, 3))
    np.testing.assert_allclose(part.project(points), (full.project(points) - [100, 60]) / [2, 3], atol=1e-9)
    assert (part.width, part.height) == (200, 100)
    assert full.binned(0, 0) == full
    with pytest.raises(CameraError, match=r"CameraInfo\.roi"):
        full.with_roi(500, 0, 400, 300)


def test_scaled_follows_cv2_resize():
    full = CameraModel.pinhole(300.0, 310.0, 21.0, 17.0, 48, 36)
    image = np.zeros((36, 48), np.float32)
    image[16:20, 20:24] = 1  # centred on (21.5, 17.5)
    ray = full.unproject([21.5, 17.5])
    small_image = cv2.resize(image, (24, 18), interpolation=cv2.INTER_AREA)
    v, u = np.nonzero(small_image)
    np.testing.assert_allclose(full.scaled(0.5).project([*ray, 1.0]), [u.mean(), v.mean()])


def test_field_of_view():
    model = CameraModel.from_fov(60.0, 640, 480)
    left, right = model.rays([[-0.5, 239.5], [639.5, 239.5]])
    assert np.rad2deg(np.arccos(left @ right)) == pytest.approx(60.0)
    assert model.fx == model.fy


def test_a_camera_prints_in_a_line():
    assert repr(CAMERAS["none"]) == "CameraModel(640x480, fx=610, fy=590, cx=330.5, cy=235.25)"
    assert repr(CAMERAS["equidistant"]).endswith("equidistant [0.08, -0.03, 0.02, -0.006])")


def test_cameras_compare_by_value():
    assert camera(PLUMB_BOB) == camera(PLUMB_BOB)
    assert hash(camera(PLUMB_BOB)) == hash(camera(PLUMB_BOB))
    assert camera(PLUMB_BOB) != camera()
    assert camera([0.0] * 5) == camera(), "zero coefficients are no distortion"
    assert camera([*PLUMB_BOB, 0.0, 0.0, 0.0], "plumb_bob") == camera(PLUMB_BOB)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fx": 0.0}, "fx is 0: it must be positive"),
        ({"fy": -600.0}, "fy is -600"),
        ({"fx": 0.001}, "fx is 0.001 px, for 640 px of image"),
        ({"fy": 1e6}, "fy is 1e.06 px, for 480 px of image"),
        ({"cx": 1e5}, "principal point cx is 100000 px"),
        ({"cy": -3e4}, "principal point cy is -30000 px"),
        ({"cx": float("nan")}, "cx is nan"),
        ({"fx": float("inf")}, "fx is inf"),
        ({"fx": "wide"}, "fx is 'wide'"),
        ({"width": 0}, "width is 0"),
        ({"height": -480}, "height is -480"),
        ({"height": 480.5}, "height is 480.5"),
        ({"distortion": [0.1, 0.2]}, "2 distortion coefficients"),
        (
            {"distortion": [0.1] * 5, "distortion_model": "equidistant"},
            "equidistant has 5 coefficients: expected 4",
        ),
        ({"distortion": [0.1, float("nan"), 0, 0, 0]}, "contains NaN"),
        ({"distortion": [0.1] * 5, "distortion_model": "ftheta"}, "'ftheta' is not supported"),
    ],
)
def test_bad_values_are_refused(change, message):
    good = {"fx": 600.0, "fy": 600.0, "cx": 320.0, "cy": 240.0, "width": 640, "height": 480}
    with pytest.raises(CameraError, match=message):
        CameraModel.pinhole(**{**good, **change})


@pytest.mark.parametrize("fov", [0, 0.01, 171, 180, -30, float("nan")])
def test_bad_field_of_view(fov):
    with pytest.raises(CameraError):
        CameraModel.from_fov(fov, 640, 480)


def test_matrix_of_zeros_names_the_cause():
    with pytest.raises(CameraError, match="not calibrated"):
        CameraModel.from_matrix([0.0] * 9, 640, 480)
    with pytest.raises(CameraError, match="expected 9"):
        CameraModel.from_matrix([1.0, 2.0], 640, 480)
    with pytest.raises(CameraError, match="expected \\[fx 0 cx"):
        CameraModel.from_matrix([600, 1, 320, 0, 600, 240, 0, 0, 1], 640, 480)
