"""From 8-bit crops to what the network reads."""

import torch
from torch import Tensor

from trg_ros.errors import InputError
from trg_ros.model.config import IMAGE_MEAN, IMAGE_STD


def normalise_crops(crops_rgb: Tensor) -> Tensor:
    """(N, S, S, 3) uint8 RGB -> (N, 3, S, S) float32 on the same device, in the statistics of ImageNet.

    The result keeps the memory layout of the crops (channels last), which convolutions prefer.

    :raises InputError: for another shape or type.
    """
    if crops_rgb.dtype != torch.uint8 or crops_rgb.ndim != 4 or crops_rgb.shape[-1] != 3:
        raise InputError(f"crops must be (N, S, S, 3) uint8, not {tuple(crops_rgb.shape)} {crops_rgb.dtype}")
    mean = torch.tensor(IMAGE_MEAN, device=crops_rgb.device) * 255
    std = torch.tensor(IMAGE_STD, device=crops_rgb.device) * 255
    return ((crops_rgb.float() - mean) / std).permute(0, 3, 1, 2)
