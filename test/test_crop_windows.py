"""Windows: where boxes and landmarks put them, which ones are none, and how virtual cameras turn."""

import numpy as np
import pytest
from lenses import CAMERAS, FOLDING

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows, box_from_landmarks68, centered_box, square_box
from trg_ros.errors import InputError
from trg_ros.geometry import shortest_turn
from trg_ros.windows import windows_of_boxes


@pytest.mark.parametrize("name", CAMERAS)
def test_windows_and_boxes_are_inverse(name):
    boxes = np.array([[250.0, 150, 350, 250], [60, 60, 160, 160]])
    boxes = boxes if name != "anisotropic" else np.array([[250.0, 150, 370, 244]])
    camera = CAMERAS[name]
    windows = CropWindows.from_boxes(camera, boxes)
    again = CropWindows.from_boxes(camera, windows.to_boxes(camera))
    np.testing.assert_allclose(again.normalised, windows.normalised, rtol=2e-5, atol=1e-7)
    if name == "none":
        np.testing.assert_allclose(windows.to_boxes(camera), boxes, atol=1e-9)


def test_window_of_landmarks_is_the_box_of_landmarks():
    camera = CAMERAS["none"]
    points = np.random.default_rng(4).normal([0.1, -0.05, 0.8], 0.04, (3, 68, 3))
    windows = CropWindows.from_landmarks68(points)
    np.testing.assert_allclose(
        windows.to_boxes(camera), box_from_landmarks68(camera.project(points)), atol=1e-6
    )
    points[1, 7] = np.nan
    assert CropWindows.from_landmarks68(points).valid.tolist() == [True, False, True]


def test_boxes():
    np.testing.assert_allclose(square_box([10, 20, 30, 80]), [-10, 20, 50, 80])
    np.testing.assert_allclose(square_box([[0, 0, 10, 10]], 2), [[-5, -5, 15, 15]])
    landmarks = np.zeros((68, 2)) + [100, 50]
    landmarks[3] = [161, 70]
    np.testing.assert_allclose(
        box_from_landmarks68(landmarks), [130.5 - 45.75, 60 - 45.75, 130.5 + 45.75, 60 + 45.75]
    )
    np.testing.assert_allclose(box_from_landmarks68(landmarks, truncate=True), [84, 14, 176, 105])
    np.testing.assert_allclose(centered_box(np.stack([landmarks] * 2)), [[130.5, 60, 91.5]] * 2)


@pytest.mark.parametrize(
    "box",
    [[10, 10, 10, 10], [50, 50, 20, 20], [np.nan, 0, 10, 10], [1e6, 0, 2e6, 10], [-1e5, -1e5, 1e5, 1e5]],
)
def test_a_box_without_size_or_ray_or_of_no_face_has_no_valid_window(box):
    assert not CropWindows.from_boxes(FOLDING, [box]).valid.any()
    with pytest.raises(InputError, match="box 0"):
        windows_of_boxes(FOLDING, [box])


@pytest.mark.parametrize("degrees", [-170, -60, 0, 25, 90])
def test_the_next_look_faces_the_head_and_stands_upright(degrees):
    """However the head leans and wherever it is, its virtual camera sees it in the middle, top up."""
    angle, place = np.deg2rad(degrees), np.array([0.4, -0.3, 1.0])
    lean = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    face = np.random.default_rng(3).uniform(-0.08, 0.08, (68, 3))
    face -= face.mean(axis=0)
    facing = shortest_turn(place[None] / np.linalg.norm(place))[0]
    leaning, straight = (face @ (facing @ turn).T + place for turn in (lean, np.eye(3)))
    up = -np.stack([(facing @ lean)[:, 1], facing[:, 1]])
    windows = CropWindows.from_landmarks68(np.stack([leaning, straight]), up)
    seen = windows.camera_R_virtual.transpose(0, 2, 1) @ up[..., None]
    np.testing.assert_allclose(seen[..., 0], np.tile([0.0, -1.0, 0.0], (2, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(windows.camera_R_virtual), 1, atol=1e-9)
    np.testing.assert_allclose(windows.normalised[0], windows.normalised[1], atol=1e-6)
    assert np.abs(windows.center).max() < 0.1 * windows.size.min()


def test_a_head_seen_from_above_has_no_upright():
    """Then the virtual camera only turns to it."""
    points = np.random.default_rng(4).uniform(-0.08, 0.08, (1, 68, 3)) + [0.0, 0.0, 1.0]
    windows = CropWindows.from_landmarks68(points, np.array([[0.1, 0.1, -0.99]]))
    middle = points[0].mean(axis=0)
    np.testing.assert_allclose(
        windows.camera_R_virtual[0], shortest_turn(middle[None] / np.linalg.norm(middle))[0], atol=1e-12
    )


def test_no_windows_have_no_boxes() -> None:
    camera = CameraModel.pinhole(600, 600, 319.5, 239.5, 640, 480)
    windows = CropWindows.from_boxes(camera, np.empty((0, 4)))
    assert windows.to_boxes(camera).shape == (0, 4)
