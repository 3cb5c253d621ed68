"""Hair over faces: where it falls, and that the same seed draws the same hair."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from trg_ros.synthetic.augmentation.hair_layers import HairLayers

SIZE = 96


@pytest.fixture(scope="module")
def frontal68() -> np.ndarray:
    """A face in metres: jaw, brows, nose, eyes and mouth where the 68 landmarks have them, roughly."""
    points = np.zeros((68, 3))
    angle = np.linspace(0, np.pi, 17)
    points[:17, 0], points[:17, 1] = -0.07 * np.cos(angle), -0.03 + 0.1 * np.sin(angle)
    points[17:27, 0], points[17:27, 1] = np.linspace(-0.05, 0.05, 10), -0.05
    points[27:36, 1] = np.linspace(-0.04, 0.01, 9)
    points[36:48, 0], points[36:48, 1] = np.linspace(-0.04, 0.04, 12), -0.03
    points[48:, 0], points[48:, 1] = np.linspace(-0.02, 0.02, 20), 0.035
    return points


def painted(layers: HairLayers, points: np.ndarray, seed: int) -> np.ndarray:
    image = np.full((SIZE, SIZE, 3), 128, np.float32)
    layers.paint(image, points, np.random.default_rng(seed))
    return image


def test_hair_falls_beside_the_face_and_leaves_most_of_it_free(frontal68: np.ndarray) -> None:
    layers = HairLayers(frontal68, 30, 1)
    points = frontal68[:, :2] / 0.24 * SIZE + SIZE / 2
    changed = np.mean([np.abs(painted(layers, points, seed) - 128).max(axis=2) > 10 for seed in range(40)], 0)
    left, right = points[0].astype(int), points[16].astype(int)
    nose = points[30].astype(int)
    beside = [changed[left[1], left[0] - 6], changed[right[1], right[0] + 6]]
    assert min(beside) > 0.5 > 0.3 > changed[nose[1], nose[0]]
    assert np.isfinite(changed).all()


def test_the_same_seed_is_the_same_hair(frontal68: np.ndarray) -> None:
    points = frontal68[:, :2] / 0.24 * SIZE + SIZE / 2
    first, again, other = (HairLayers(frontal68, 3, seed) for seed in (1, 1, 2))
    assert np.array_equal(painted(first, points, 5), painted(again, points, 5))
    assert not np.array_equal(painted(first, points, 5), painted(other, points, 5))


def test_only_faces_that_look_at_the_camera_get_it(frontal68: np.ndarray) -> None:
    turns = Rotation.from_euler("y", [[0], [40], [60], [180]], degrees=True).as_matrix()
    assert HairLayers(frontal68, 1, 1).fits(turns).tolist() == [True, True, False, False]
