"""What the tests of the CUDA back end share: a tiny network, pictures, an image, and where all of it runs."""

import numpy as np
import pytest
import torch
from small_network import random_inputs, small_network

from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo
from trg_ros.crop import CropWindows

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
DEVICES = [CPU, pytest.param(torch.device("cuda", 0), marks=needs_gpu)]
SIZES = (1, 2, 4)
CAMERA = CameraModel.pinhole(500, 500, 160, 120, 320, 240, [-0.2, 0.05, 0.0, 0.0, 0.0])
IMAGE = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def tiny_checkpoint():
    model = small_network(regressor_activation="relu")
    return Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())


def crops_and_boxes(count, size=64):
    coarse, box = random_inputs(count, 8)
    crops = torch.nn.functional.interpolate(coarse * 60 + 110, (size, size), mode="bilinear").clamp(0, 255)
    return crops.permute(0, 2, 3, 1).to(torch.uint8).numpy(), box.numpy()


def windows():
    return CropWindows.from_boxes(CAMERA, [[50, 40, 150, 140], [120, 60, 220, 160]])
