"""From the numbers that the network refines to a pose: the paper's way, and those that it compares it with.

All tensors belong to N heads; boxes (N, 3) are centre x, centre y and side in the normalised image plane.
"""

import torch
from torch import Tensor
from torch.nn import functional

REFERENCE_LENGTH = 0.2  # metres, the l of Eq. 2: about the size of a face box at the head


def pose_in_camera(parameters: str, rotation: Tensor, numbers: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """camera_R_head (N, 3, 3) and translation (N, 3), metres, from a rotation and three numbers.

    :param parameters: what rotation and numbers are, one of `trg_ros.model.config.POSE_PARAMETERS`:

        - "correction": camera_R_head and s, tx, ty of Eq. 2.
        - "camera_offset": the same, but tx and ty are an offset in metres from the ray through the box's
          centre (in units of l/2), which does not grow with the depth.
        - "local_to_global": as "correction", but the rotation is that in a camera that faces the box:
          what the crop alone shows, turned by where the box is.
        - "direct": camera_R_head and the translation itself.
    """
    if parameters == "direct":
        return rotation, numbers
    if parameters == "local_to_global":
        rotation = turn_towards(box[:, :2]) @ rotation
    if parameters == "camera_offset":
        return rotation, translation_from_camera_offset(numbers, box)
    return rotation, translation_from_correction(numbers, box)


def translation_from_correction(correction: Tensor, box: Tensor) -> Tensor:
    """The translation (N, 3), metres, from s, tx, ty (N, 3) and the normalised box (N, 3): Eq. 2."""
    scale = REFERENCE_LENGTH * correction[:, :1]
    center, size = box[:, :2], box[:, 2:]
    return torch.cat([scale * (center / size + correction[:, 1:] / 2), scale / size], dim=1)


def translation_from_camera_offset(numbers: Tensor, box: Tensor) -> Tensor:
    """The translation (N, 3), metres, from s and an offset (N, 3): the ray through the box's centre at depth
    l s / b, moved sideways by l/2 times the offset."""
    depth = REFERENCE_LENGTH * numbers[:, :1] / box[:, 2:]
    return torch.cat([depth * box[:, :2] + REFERENCE_LENGTH / 2 * numbers[:, 1:], depth], dim=1)


def turn_towards(center: Tensor) -> Tensor:
    """(N, 3, 3) the shortest turn of the optical axis onto the rays through points (N, 2) of the normalised
    plane: from the axes of a camera that faces them to the real camera's."""
    x, y, z = functional.normalize(functional.pad(center, (0, 1), value=1.0), dim=1).unbind(1)
    mixed = -x * y / (1 + z)
    rows = (
        torch.stack([1 - x * x / (1 + z), mixed, x], -1),
        torch.stack([mixed, 1 - y * y / (1 + z), y], -1),
        torch.stack([-x, -y, z], -1),
    )
    return torch.stack(rows, dim=1)
