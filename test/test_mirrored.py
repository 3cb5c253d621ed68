"""Looking in the mirror as well: the mean of two looks, and the same mean for the mirror image."""

import dataclasses

import numpy as np
import pytest

from trg_ros.backends import make_backend
from trg_ros.backends.mirrored import MirroredBackend, mirrored
from trg_ros.checkpoint import Checkpoint, default_checkpoint_path, load_checkpoint
from trg_ros.geometry import geodesic_distance, nearest_rotation

F = np.diag([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(default_checkpoint_path())


@pytest.mark.parametrize("count", [1, 3])
def test_the_mirror_image_has_the_mirrored_pose(checkpoint: Checkpoint, count: int) -> None:
    backend = mirrored(make_backend(checkpoint, "cpu", "torch", 1), checkpoint.topology)
    size = checkpoint.config.input_size
    rng = np.random.default_rng(1)
    crops = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    boxes = np.float32([[0.1, -0.05, 0.3]] * count)
    seen = backend.infer(crops, boxes)
    reflected = backend.infer(crops[:, :, ::-1], boxes * np.float32([-1, 1, 1]))
    assert len(seen) == count
    flip = checkpoint.topology.flip[checkpoint.topology.landmarks68]
    flip68 = [checkpoint.topology.landmarks68.tolist().index(other) for other in flip]
    other_side = (reflected.landmarks68_crop * [-1, 1])[:, flip68]
    np.testing.assert_allclose(other_side, seen.landmarks68_crop, atol=1e-5)
    np.testing.assert_allclose(F @ reflected.rotation @ F, seen.rotation, atol=1e-5)
    np.testing.assert_allclose(reflected.translation @ F, seen.translation, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(seen.rotation), 1, atol=1e-5)


def test_it_is_the_mean_of_both_looks(checkpoint: Checkpoint) -> None:
    plain = make_backend(checkpoint, "cpu", "torch", 1)
    size = checkpoint.config.input_size
    crops = np.random.default_rng(2).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    boxes = np.float32([[0.1, -0.05, 0.3], [0, 0, 0.2]])
    one, mean = plain.infer(crops, boxes), mirrored(plain, checkpoint.topology).infer(crops, boxes)
    other = F @ plain.infer(crops[:, :, ::-1].copy(), boxes * np.float32([-1, 1, 1])).rotation @ F
    np.testing.assert_allclose(
        geodesic_distance(mean.rotation, one.rotation), geodesic_distance(mean.rotation, other), atol=1e-3
    )
    np.testing.assert_allclose(mean.landmarks_head, one.landmarks_head, atol=1e-6)


def test_landmarks_without_a_mirror_index_are_left_alone(checkpoint: Checkpoint) -> None:
    backend = make_backend(checkpoint, "cpu", "torch", 1)
    assert isinstance(mirrored(backend, checkpoint.topology), MirroredBackend)
    assert mirrored(backend, dataclasses.replace(checkpoint.topology, flip=None)) is backend


def test_the_nearest_rotation_of_a_sum_is_the_mean_and_never_a_reflection() -> None:
    angles = np.array([0.2, 0.6])
    turns = np.array([[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angles])
    mean = nearest_rotation(turns.sum(axis=0))
    assert np.arctan2(mean[1, 0], mean[0, 0]) == pytest.approx(0.4)
    assert np.linalg.det(nearest_rotation(np.diag([1.0, 1.0, -0.1]))) == pytest.approx(1)
