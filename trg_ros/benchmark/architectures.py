"""What other architectures of TRG cost, and how well those do that have been trained.

Cost is that of the network alone, one face, in OpenVINO; for trained ones that of a tracked frame, too.
Errors are measured on held-out rendered heads, with the very networks that are timed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from trg_ros.backends.model_cache import ModelCache
from trg_ros.backends.openvino_backend import OpenVINOBackend
from trg_ros.benchmark.candidates import Candidate
from trg_ros.benchmark.scene import Scene
from trg_ros.benchmark.timing import Call, Contender, interleave
from trg_ros.benchmark.tracked import tracked_frame
from trg_ros.checkpoint import Checkpoint
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.evaluation.looks import single_looks
from trg_ros.evaluation.metrics import PoseSet, per_sample_errors, summarise
from trg_ros.evaluation.rendered import HeldOutSet
from trg_ros.model_card import gigaflops

#: As second looks see heads, and as the first look at a detector's box does.
CONDITIONS = ("settled", "hard")
_ERRORS = ("geodesic_mean_deg", "geodesic_median_deg", "tz_relative_median", "landmark_mean_m")


def measure_architectures(
    base: Checkpoint,
    candidates: list[Candidate],
    scene: Scene,
    held_out: dict[str, HeldOutSet],
    rounds: int,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """One row for each candidate: what it is, how large, what it costs, and how wrong it is if it is trained.

    :param base: what candidates with random weights differ from.
    :param scene: with one face, for tracked frames.
    :param held_out: by condition; without any, no errors are measured.
    """
    rows: dict[str, dict[str, Any]] = {}
    networks: dict[str, Contender] = {}
    frames: dict[str, Contender] = {}
    with tempfile.TemporaryDirectory() as folder:
        for candidate in candidates:
            name, checkpoint = candidate.name, candidate.build(base)
            backend = OpenVINOBackend(checkpoint, candidate.precision, threads, ModelCache(Path(folder)))
            networks[name] = Call(_one_face(backend, checkpoint.config.input_size))
            rows[name] = _description(candidate, checkpoint)
            if candidate.trained:
                estimator = HeadPoseEstimator(checkpoint, backend, None)
                frames[name] = Call(tracked_frame(estimator, scene))
                rows[name]["errors"] = measure_errors(backend, checkpoint, held_out)
        samples, frame_samples = interleave(networks, rounds), interleave(frames, rounds)
    for name, row in rows.items():
        row |= samples[name].summary()
        row["tracked"] = frame_samples[name].summary() if name in frames else None
    return list(rows.values())


def measure_errors(
    backend: OpenVINOBackend, checkpoint: Checkpoint, held_out: dict[str, HeldOutSet]
) -> dict[str, dict[str, float]]:
    """By condition: some of the keys of `CheckpointInfo.measured_errors`."""
    config, errors = checkpoint.config, {}
    for condition, heads in held_out.items():
        looks = single_looks(backend, heads.crops(config.input_size, config.second_look_scale))
        result = looks.result
        poses = PoseSet(result.rotation, result.translation, result.landmarks_head)
        summary = summarise(per_sample_errors(poses, looks.truth))
        errors[condition] = {key: float(f"{summary[key]:.4g}") for key in _ERRORS}
    return errors


def _description(candidate: Candidate, checkpoint: Checkpoint) -> dict[str, Any]:
    info = checkpoint.info
    trained = {"version": info.version, "samples_seen": info.provenance.get("samples_seen")}
    return {
        "name": candidate.name,
        "options": candidate.options,
        "precision": candidate.precision,
        "parameters": sum(value.size for value in checkpoint.weights.values()),
        "gflop": round(gigaflops(checkpoint), 3),
        "trained": trained if candidate.trained else None,
        "errors": {},
    }


def _one_face(backend: OpenVINOBackend, size: int) -> Any:
    crop = np.random.default_rng(0).integers(0, 255, (1, size, size, 3), dtype=np.uint8)
    box = np.array([[0.0, 0.0, 0.3]], np.float32)
    return lambda: backend.infer(crop, box)
