"""From a training state to a checkpoint: averaged weights, measured on held-out heads, with where they come
from."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from trg_ros.checkpoint import HEAD_CONVENTION, Checkpoint, CheckpointInfo, save_checkpoint
from trg_ros.errors import CheckpointError
from trg_ros.evaluation.groups import group_masks, group_table, yaw_degrees
from trg_ros.evaluation.metrics import PoseSet, per_sample_errors, summarise
from trg_ros.evaluation.rendered import (
    CONDITIONS,
    HELD_OUT_SEED,
    HeldOutSet,
    landmarks68_disagreement,
    predict_poses,
)
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.training.config import TrainingConfig
from trg_ros.training.state import load_state
from trg_ros.training.trainer import STATE_NAME, make_landmarks

DISAGREEMENT = "landmarks68_disagreement"  # what the estimator's score measures a face by
ORIGIN = (
    "origin: mean of the 68 landmarks of ICT-FaceKit's neutral face, on the plane of symmetry, about 4 cm "
    "below and 1.3 cm behind the sellion; axes: that face's, laid onto the nose and the upper ends of the "
    "jaw line"
)
KNOWN_LIMITS = (
    "one picture does not tell a head's size, so depth errs by 3 % (median) even where all else is right; "
    "errors grow by half past 60 degrees of yaw; measured on rendered heads only; expressions are "
    "those of the face model, children those of a few rules"
)
_HELD_OUT_SAMPLES = 5000
LICENSE = (
    "Apache-2.0. Trained on heads rendered from ICT-FaceKit (MIT License, Copyright (c) 2020 USC Institute "
    "for Creative Technologies); the mean landmarks in this file derive from it. No picture or scan of an "
    "identifiable person was used."
)
TRAINING_DATA = (
    "Heads rendered by trg_ros.synthetic from ICT-FaceKit's morphable model with procedural skin, hair, "
    "beards, glasses, masks and light; backgrounds: freely licensed wallpapers of Debian's mate-backgrounds, "
    "gnome-backgrounds and ukui-wallpapers packages, and procedural ones"
)


def package(config: TrainingConfig, out: Path, version: str = "1", note: str = "") -> dict[str, Any]:
    """Write the averaged weights of a run as a half-precision checkpoint; returns the measured errors.

    :param note: what else there is to know about how they came about.
    :raises CheckpointError: when the run has no state yet.
    """
    path = Path(config.output).expanduser() / STATE_NAME
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: train first with `trg-headpose train`")
    saved = load_state(path)
    # The size of the crops it saw last is the one it is good at.
    size = config.crop_size(max(0, saved["step"] - 1))
    model_config = dataclasses.replace(TRGConfig.from_dict(saved["model_config"]), input_size=size)
    _, topology = make_landmarks(model_config)
    state = _half_precision(saved["average"])
    model = TRG(model_config, topology).eval()
    model.load_state_dict(state)
    measured = _measured(model, Path(config.data.validation).expanduser(), size)
    info = CheckpointInfo(
        name=config.name,
        version=version,
        origin_convention=f"{HEAD_CONVENTION}; {ORIGIN}",
        training_data=TRAINING_DATA,
        license=LICENSE,
        provenance={
            "command": "trg-headpose train CONFIG.yaml, CONFIG.yaml being `config`",
            "config": saved["config"],
            "samples_seen": saved["samples_seen"],
            "steps": saved["step"],
            "rendered_samples": _pool(saved),
            "known_limits": KNOWN_LIMITS,
            **({"note": note} if note else {}),
        },
        measured_errors=measured,
    )
    save_checkpoint(out, Checkpoint(model_config, topology, info, model.state_dict()), dtype=np.float16)
    return measured


def _measured(model: TRG, root: Path, size: int) -> dict[str, Any]:
    """One look at sloppy boxes, which nothing can be worse than; and what second looks and trackers make of
    it."""
    first, settled, tracked = (
        measure(model, HeldOutSet.load(root, _HELD_OUT_SAMPLES, condition), size)
        for condition in ("hard", "settled", "tracked")
    )
    return {**first, "settled": settled, "tracked": tracked}


def measure(model: TRG, held_out: HeldOutSet, size: int) -> dict[str, Any]:
    """`CheckpointInfo.measured_errors` of a model at an input size, in all and by group."""
    batch = held_out.crops(size, model.config.second_look_scale)
    truth, predicted = held_out.truth(batch), predict_poses(model, batch)
    errors = per_sample_errors(predicted, truth)
    moderate = np.abs(yaw_degrees(truth)) < 60
    masks = group_masks(truth, held_out.attributes(), batch.occluded)
    numbers: dict[str, Any] = {
        "dataset": f"rendered heads, seed {HELD_OUT_SEED}, all poses",
        "condition": f"{held_out.condition}: {CONDITIONS[held_out.condition][0]}",
        "samples": len(batch.box),
        **summarise(errors),
        **spread(predicted, truth),
        DISAGREEMENT: float(np.median(landmarks68_disagreement(model, batch))),
        "yaw_below_60": summarise({name: values[moderate] for name, values in errors.items()}),
        "groups": group_table(errors, masks),
    }
    return _rounded(numbers)


def spread(predicted: PoseSet, truth: PoseSet) -> dict[str, list[float]]:
    """Root mean square errors per axis of the camera frame: rotation vector in degrees, translation over
    distance."""
    difference = Rotation.from_matrix(predicted.rotation @ truth.rotation.transpose(0, 2, 1)).as_rotvec()
    relative = (predicted.translation - truth.translation) / np.linalg.norm(
        truth.translation, axis=1, keepdims=True
    )
    return {
        "rotation_std_deg": [math.degrees(v) for v in np.sqrt((difference**2).mean(axis=0))],
        "translation_std_relative": [float(v) for v in np.sqrt((relative**2).mean(axis=0))],
    }


def _half_precision(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the file will hold, so that the measured errors are those of the file."""
    rounded = {}
    for name, value in state.items():
        reduce = value.is_floating_point() and value.ndim > 1 and not name.startswith("initial_")
        rounded[name] = value.half().float() if reduce else value
    return rounded


def _pool(saved: Mapping[str, Any]) -> str:
    first, last = saved["growth"][0], saved["growth"][-1]
    return f"{first[1]} to {last[1]} shards of 500 heads, growing during the run"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
