"""What back ends are tried with, and how near to each other they have to be."""

import numpy as np
import pytest
import torch
from small_network import random_inputs

from trg_ros.backends.openvino_backend import openvino_installed
from trg_ros.checkpoint import Checkpoint, CheckpointInfo

needs_openvino = pytest.mark.skipif(not openvino_installed(), reason="needs the package openvino")

# What is allowed in half precision, in metres and radians; in single precision a thousandth of it.
HALF_PRECISION = {"landmarks_head": 3e-4, "rotation": np.deg2rad(0.2), "translation": 1e-3}


def checkpoint_of(model):
    return Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())


def crops_and_boxes(count, size=64):
    """Smooth pictures in bytes, boxes: what a camera could have seen."""
    coarse, box = random_inputs(count, 8)
    crops = torch.nn.functional.interpolate(coarse * 60 + 110, (size, size), mode="bilinear").clamp(0, 255)
    return crops.permute(0, 2, 3, 1).to(torch.uint8).numpy(), box.numpy()


def arrays_of(result):
    return {name: value for name, value in vars(result).items() if isinstance(value, np.ndarray)}


def assert_agree(result, reference, part_of_bound):
    for name, bound in HALF_PRECISION.items():
        difference = np.abs(getattr(result, name) - getattr(reference, name)).max()
        assert difference <= bound * part_of_bound, f"{name} differs by {difference}"
