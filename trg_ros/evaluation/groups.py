"""Errors on rendered heads by group: where the head is, how it is turned, what it looks like."""

from itertools import pairwise

import numpy as np

from trg_ros.evaluation.metrics import PoseSet

_YAW_EDGES = (0, 15, 30, 45, 60, 75, 90)
_DISTANCE_EDGES = (0.2, 0.4, 0.8, 1.6, 4.0)
_YES_OR_NO = ("beard", "mask", "glasses", "sunglasses", "hat", "long_hair")
MIN_SAMPLES = 20


def yaw_degrees(poses: PoseSet) -> np.ndarray:
    """Angle (N,) between the face's direction, projected on the horizontal plane, and the camera's axis."""
    forward = -poses.rotation[:, :, 2]
    return np.degrees(np.arctan2(-forward[:, 0], -forward[:, 2]))


def pose_masks(truth: PoseSet) -> dict[str, np.ndarray]:
    """Boolean masks (N,) by name: bins of yaw and of distance; any may be empty."""
    yaw, distance = np.abs(yaw_degrees(truth)), truth.translation[:, 2]
    masks = {f"yaw {a}-{b} deg": (yaw >= a) & (yaw < b) for a, b in pairwise(_YAW_EDGES)}
    return masks | {
        f"distance {a}-{b} m": (distance >= a) & (distance < b) for a, b in pairwise(_DISTANCE_EDGES)
    }


def group_masks(
    truth: PoseSet, attributes: dict[str, np.ndarray], occluded: np.ndarray
) -> dict[str, np.ndarray]:
    """Boolean masks (N,) by group name; groups of fewer than MIN_SAMPLES are left out.

    :param occluded: (N,) bool, whether something is in front of the face or next to it.
    """
    masks = pose_masks(truth) | {"occluded": occluded, "not occluded": ~occluded}
    if attributes:
        tone = attributes["tone"]
        masks |= {f"skin tone decile {k + 1}": (tone * 10).astype(int).clip(0, 9) == k for k in range(10)}
        for name in _YES_OR_NO:
            masks[name.replace("_", " ")] = attributes[name] > 0.5
            masks["no " + name.replace("_", " ")] = attributes[name] <= 0.5
    return {name: mask for name, mask in masks.items() if mask.sum() >= MIN_SAMPLES}


def group_table(errors: dict[str, np.ndarray], masks: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Samples, mean geodesic error (degrees), median relative depth error and mean landmark error (m) per
    group."""
    return {
        name: {
            "samples": int(mask.sum()),
            "geodesic_mean_deg": float(errors["geodesic_deg"][mask].mean()),
            "tz_relative_median": float(np.median(errors["tz_relative"][mask])),
            "landmark_mean_m": float(errors["landmark_m"][mask].mean()),
        }
        for name, mask in masks.items()
    }
