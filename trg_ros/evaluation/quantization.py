"""Are 8-bit integers good enough for a checkpoint? What they change, against float and against the truth."""

import dataclasses
import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trg_ros.checkpoint import Checkpoint
from trg_ros.evaluation.metrics import PoseSet, per_sample_errors
from trg_ros.model.deploy import DeployedTRG
from trg_ros.model.quantization import activation_peaks, quantised
from trg_ros.model.rounding import silenced, with_rounded_regressors
from trg_ros.synthetic.augmentation import TrainingBatch

logger = logging.getLogger(__name__)

#: Training crops that weights are rounded with; and those of them that activation peaks are taken from.
TRAINING_SAMPLES, _PEAK_SAMPLES = 1000, 300
_MEASURED, _CROPS = 1000, 50
#: Integers are left alone where any mean error against the truth grows by more than this.
_MAX_LOSS = 0.01


def with_integers(
    checkpoint: Checkpoint,
    training_crops: NDArray[np.uint8],
    training_boxes: NDArray[np.float32],
    held_out: TrainingBatch,
) -> Checkpoint:
    """The checkpoint with rounded weights and activation peaks, if integers cost next to nothing; else as it
    is, without peaks. Either way with what they cost.

    :param training_crops: (N, S, S, 3) uint8 RGB; training_boxes: (N, 3), as for `TRG.forward`.
    :param held_out: crops with labels to measure on; the first thousand are used.
    """
    model = checkpoint.build_model()
    rounded = with_rounded_regressors(
        silenced(model, training_crops, training_boxes), training_crops, training_boxes
    )
    network = DeployedTRG(rounded)
    peaks = activation_peaks(network, training_crops[:_PEAK_SAMPLES])
    report = compare(DeployedTRG(model), network, quantised(network, peaks), held_out)
    fit = max(report["error_ratio"].values()) <= 1 + _MAX_LOSS
    if not fit:
        logger.warning("integers are left alone, they cost too much: error ratios %s", report["error_ratio"])
    info = checkpoint.info
    info = dataclasses.replace(info, measured_errors={**info.measured_errors, "int8": report})
    if not fit:
        return dataclasses.replace(checkpoint, info=info, activation_peaks=None)
    return dataclasses.replace(checkpoint, info=info, activation_peaks=peaks, weights=rounded.state_dict())


def compare(
    before: DeployedTRG, network: DeployedTRG, integers: DeployedTRG, batch: TrainingBatch
) -> dict[str, Any]:
    """How far apart a network's answers in float and in integers are, and how the mean errors of those in
    integers against the truth compare with those of the network that it was made of.

    Differences: rotation in degrees, place of the head's origin and the landmark that moved most in metres.
    """
    truth = PoseSet(batch.rotation, batch.translation, batch.landmarks_head).select(slice(_MEASURED))
    first, second = _poses(network, batch), _poses(integers, batch)
    change = np.linalg.norm(first.landmarks_head - second.landmarks_head, axis=2).max(axis=1)
    differences = {
        "rotation_deg": per_sample_errors(second, first)["geodesic_deg"],
        "translation_m": np.linalg.norm(first.translation - second.translation, axis=1),
        "landmark_m": change,
    }
    means = [_mean_errors(poses, truth) for poses in (_poses(before, batch), second)]
    return {
        "samples": len(truth.translation),
        "difference": {name: _spread(values) for name, values in differences.items()},
        "error_ratio": {name: float(f"{means[1][name] / means[0][name]:.4f}") for name in means[0]},
    }


@torch.inference_mode()
def _poses(network: DeployedTRG, batch: TrainingBatch) -> PoseSet:
    parts = []
    for first in range(0, min(_MEASURED, len(batch.box)), _CROPS):
        part = slice(first, min(first + _CROPS, _MEASURED))
        output = network(torch.from_numpy(batch.crops[part]), torch.from_numpy(batch.box[part]))
        parts.append([output.rotation.numpy(), output.translation.numpy(), output.landmarks_head.numpy()])
    return PoseSet(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _mean_errors(poses: PoseSet, truth: PoseSet) -> dict[str, float]:
    errors = per_sample_errors(poses, truth)
    return {
        "rotation": float(errors["geodesic_deg"].mean()),
        "translation": float(np.linalg.norm(poses.translation - truth.translation, axis=1).mean()),
        "landmarks": float(errors["landmark_m"].mean()),
    }


def _spread(values: NDArray) -> dict[str, float]:
    return {
        name: float(f"{value:.3g}")
        for name, value in (
            ("median", np.median(values)),
            ("p95", np.percentile(values, 95)),
            ("worst", values.max()),
        )
    }
