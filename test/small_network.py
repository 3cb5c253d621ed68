"""A TRG small enough for unit tests, with a topology to match."""

from typing import Any

import numpy as np
import torch

from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.topology import Topology

NUM_LANDMARKS = 80

torch.set_num_threads(1)  # for tensors this small more threads cost more than they bring

SMALL: dict[str, Any] = {
    "input_size": 64,
    "stem": "compact",
    "backbone_widths": (8, 12, 16),
    "backbone_blocks": (1, 1, 2),
    "deconv_widths": (12, 10, 8),
    "point_feature_widths": (8, 6, 3),
    "num_landmarks": NUM_LANDMARKS,
    "num_sampled": 20,
    "grid_size": 6,
    "hidden_width": 32,
}


def small_config(**changes: Any) -> TRGConfig:
    return TRGConfig(**{**SMALL, **changes})


def small_topology(**changes: Any) -> Topology:
    indices = np.arange(NUM_LANDMARKS)
    parts: dict[str, Any] = {
        "triangles": np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=1),
        "sampled": indices[::4],
        "landmarks68": indices[5:73],
        "flip": indices[::-1].copy(),
    }
    return Topology(**{**parts, **changes})


def small_network(seed: int = 0, topology: Topology | None = None, **changes: Any) -> TRG:
    """In evaluation mode, with weights large enough that every part of it matters."""
    torch.manual_seed(seed)
    config = small_config(**changes)
    model = TRG(config, topology or small_topology())
    model.set_initial_state(0.08 * torch.randn(config.num_landmarks, 3))
    for regressor in model.regressors:
        if regressor.landmark_head is not None:
            torch.nn.init.normal_(regressor.landmark_head.weight, std=0.01)
        torch.nn.init.normal_(regressor.pose_head.weight, std=0.05)
    for upsampler in model.upsamplers:
        if upsampler.lateral is not None:
            torch.nn.init.normal_(upsampler.lateral.weight, std=0.3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return model.eval()


def random_inputs(count: int, size: int = 64, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised crops (N, 3, S, S) and normalised boxes (N, 3)."""
    generator = torch.Generator().manual_seed(seed)
    crops = torch.randn(count, 3, size, size, generator=generator)
    box = torch.rand(count, 3, generator=generator) * 0.4 + torch.tensor([-0.2, -0.2, 0.15])
    return crops, box
