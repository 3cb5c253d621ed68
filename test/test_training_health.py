"""Iterations that see nothing are found."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="training needs the extra [train]")

from small_network import small_network

from trg_ros.synthetic.augmentation import TrainingBatch
from trg_ros.training.health import blind_iterations


def noise_batch(count: int, side: int) -> TrainingBatch:
    rng = np.random.default_rng(0)
    return TrainingBatch(
        crops=rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
        box=np.tile(np.array([0.0, 0.0, 0.3], np.float32), (count, 1)),
        rotation=np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
        translation=np.zeros((count, 3), np.float32),
        landmarks_head=np.zeros((count, 1, 3), np.float32),
        occluded=np.zeros(count, bool),
    )


@pytest.mark.parametrize("iteration", [0, 2])
def test_an_iteration_whose_relu_died_is_blind(iteration: int) -> None:
    model = small_network().eval()
    batch = noise_batch(3, model.config.input_size)
    assert blind_iterations(model, batch) == []
    with torch.no_grad():
        model.point_features[iteration].layers[-1].bias.fill_(-1e6)
    assert blind_iterations(model, batch) == [iteration]
    assert not model.point_features[iteration]._forward_hooks
