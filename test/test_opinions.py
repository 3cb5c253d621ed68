"""The network's two opinions: where they say to look next, and how far apart they are."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from trg_ros.backends import NetworkResult
from trg_ros.crop import CropWindows
from trg_ros.geometry import shortest_turn
from trg_ros.opinions import Opinions, consistency

CAMERA_R_HEAD = Rotation.from_euler(
    "yxz", [[20, 5, -70], [-30, 10, 40], [0, -15, 170]], degrees=True
).as_matrix()
PLACES = np.array([[0.2, -0.1, 0.8], [-0.3, 0.1, 1.2], [0.05, 0.25, 0.6]])
FACE = np.random.default_rng(2).uniform(-0.07, 0.07, (68, 3))
FACE -= FACE.mean(axis=0)


def looked_at(shift_in_crop=(0.0, 0.0)):
    """Three heads, as virtual cameras that are turned towards them see them; both opinions are right, but for
    a shift of what the 2D head sees, in [-1, 1] over the crop."""
    rays = PLACES / np.linalg.norm(PLACES, axis=1, keepdims=True)
    turned = shortest_turn(rays) @ Rotation.from_euler("z", [[10], [-25], [40]], degrees=True).as_matrix()
    windows = CropWindows(np.array([[0.01, 0.02], [-0.02, 0.0], [0.0, 0.03]]), 0.25 / PLACES[:, 2], turned)
    rotation = turned.transpose(0, 2, 1) @ CAMERA_R_HEAD
    translation = np.einsum("nji,nj->ni", turned, PLACES)
    points = FACE @ rotation.transpose(0, 2, 1) + translation[:, None]
    seen = 2 * (points[..., :2] / points[..., 2:] - windows.center[:, None]) / windows.size[:, None, None]
    faces = np.tile(FACE.astype(np.float32), (3, 1, 1))
    second = (seen + shift_in_crop).astype(np.float32)
    code = np.zeros((3, 1), np.float32)
    result = NetworkResult(faces, rotation.astype(np.float32), translation.astype(np.float32), second, code)
    return result, windows


def test_the_next_look_stands_upright_with_each_head():
    result, windows = looked_at()
    implied = Opinions.of(result, windows).implied_windows(result, windows)
    to_the_top = np.einsum("nji,nj->ni", implied.camera_R_virtual, -CAMERA_R_HEAD[:, :, 1])
    np.testing.assert_allclose(to_the_top[:, 0], 0, atol=1e-5)
    assert (to_the_top[:, 1] < -0.7).all()
    ahead = implied.camera_R_virtual[:, :, 2] * np.linalg.norm(PLACES, axis=1, keepdims=True)
    np.testing.assert_allclose(ahead, PLACES, atol=1e-5)


def test_the_next_look_is_where_the_2d_head_sees_the_face():
    """A tenth of the crop to the right and a twentieth up, in the virtual camera's directions."""
    result, windows = looked_at((0.2, -0.1))
    implied = Opinions.of(result, windows).implied_windows(result, windows)
    before = result.translation[:, :2] / result.translation[:, 2:]
    ahead = np.einsum("nji,nj->ni", windows.camera_R_virtual, implied.camera_R_virtual[:, :, 2])
    moved = (ahead[:, :2] / ahead[:, 2:] - before) / windows.size[:, None]
    np.testing.assert_allclose(moved, np.tile([0.1, -0.05], (3, 1)), atol=5e-3)


def test_their_distance_is_in_parts_of_the_crop_and_means_doubt():
    assert Opinions.of(*looked_at()).mean_distance == pytest.approx(0, abs=1e-6)
    assert Opinions.of(*looked_at((0.06, 0.08))).mean_distance == pytest.approx(0.05, rel=1e-4)
    assert consistency(np.array([0.0, 0.1, np.nan, 10.0]), 0.04) == pytest.approx([1, 0.5, 0, 0], abs=1e-6)
