"""Errors of head poses against the truth, in the units and conventions of the paper's protocol."""

from dataclasses import dataclass

import numpy as np

from trg_ros.geometry import euler_yxz_degrees, geodesic_distance


@dataclass(frozen=True)
class PoseSet:
    """N head poses. rotation (N, 3, 3) camera_R_head; translation (N, 3) metres; landmarks_head (N, V, 3)
    metres."""

    rotation: np.ndarray
    translation: np.ndarray
    landmarks_head: np.ndarray

    def select(self, mask: np.ndarray | slice) -> "PoseSet":
        """The poses of a boolean mask (N,), of indices or of a slice."""
        return PoseSet(self.rotation[mask], self.translation[mask], self.landmarks_head[mask])


def per_sample_errors(predicted: PoseSet, truth: PoseSet) -> dict[str, np.ndarray]:
    """Arrays over the samples: geodesic_deg, yaw/pitch/roll_deg, tx/ty/tz_m, tz_relative, landmark_m."""
    angles = [
        np.abs(_wrap(p - t)) for p, t in zip(_euler(predicted.rotation), _euler(truth.rotation), strict=True)
    ]
    shift = np.abs(predicted.translation - truth.translation)
    distance = np.linalg.norm(predicted.landmarks_head - truth.landmarks_head, axis=-1).mean(axis=1)
    geodesic = np.degrees(np.asarray(geodesic_distance(predicted.rotation, truth.rotation)))
    return {
        "geodesic_deg": geodesic,
        "yaw_deg": angles[0],
        "pitch_deg": angles[1],
        "roll_deg": angles[2],
        "tx_m": shift[:, 0],
        "ty_m": shift[:, 1],
        "tz_m": shift[:, 2],
        "tz_relative": shift[:, 2] / truth.translation[:, 2],
        "landmark_m": distance,
    }


def summarise(errors: dict[str, np.ndarray]) -> dict[str, float]:
    """Means (medians where named so) over the samples; see `CheckpointInfo.measured_errors` for the keys."""
    mean = {name: float(values.mean()) for name, values in errors.items()}
    return {
        "mae_yaw_deg": mean["yaw_deg"],
        "mae_pitch_deg": mean["pitch_deg"],
        "mae_roll_deg": mean["roll_deg"],
        "mae_rotation_deg": (mean["yaw_deg"] + mean["pitch_deg"] + mean["roll_deg"]) / 3,
        "geodesic_mean_deg": mean["geodesic_deg"],
        "geodesic_median_deg": float(np.median(errors["geodesic_deg"])),
        "mae_tx_m": mean["tx_m"],
        "mae_ty_m": mean["ty_m"],
        "mae_tz_m": mean["tz_m"],
        "tz_relative_median": float(np.median(errors["tz_relative"])),
        "landmark_mean_m": mean["landmark_m"],
    }


def _euler(rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    angles = np.asarray(euler_yxz_degrees(rotation))
    return angles[..., 0], angles[..., 1], angles[..., 2]


def _wrap(degrees: np.ndarray) -> np.ndarray:
    return (degrees + 180) % 360 - 180
