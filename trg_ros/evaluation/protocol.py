"""The paper's evaluation protocol: what a network says about a data set, and how far that is from the truth.

Angles are Euler angles 'yxz' in degrees, lengths metres inside and millimetres in summaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends import make_backend
from trg_ros.checkpoint import Checkpoint
from trg_ros.crop import CropWindows, cut_crops
from trg_ros.datasets.sample import HeadDataset, Sample
from trg_ros.errors import InputError
from trg_ros.evaluation.metrics import PoseSet, per_sample_errors
from trg_ros.geometry import euler_yxz_degrees
from trg_ros.pnp import PnPBackend, with_pose_source

Array = NDArray[np.float64]
Predict = Callable[[Sequence[Sample]], PoseSet]

YAW_EDGES_DEG = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 180.0)
DISTANCE_EDGES_M = (0.0, 0.3, 0.5, 0.7, 0.9, 1.2, 1.6, 2.5, np.inf)


class NetworkPredictor:
    """A checkpoint as the protocol uses it: one look at the crop of the given box, no second one.

    It runs in torch, so that numbers don't depend on what else is installed.

    :param pose_source: "trg", or "pnp" for the landmarks-then-PnP baseline; see `trg_ros.pnp`.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "auto", pose_source: str = "trg") -> None:
        self.checkpoint = checkpoint
        self._backend = with_pose_source(make_backend(checkpoint, device, "torch"), pose_source)

    @property
    def failures(self) -> int:
        """Heads for which PnP found no pose."""
        return self._backend.failures if isinstance(self._backend, PnPBackend) else 0

    def __call__(self, samples: Sequence[Sample]) -> PoseSet:
        size = self.checkpoint.config.input_size
        windows, crops = [], []
        for sample in samples:
            window = CropWindows.from_boxes(sample.camera, sample.box)
            if not window.valid[0]:
                raise InputError(f"{sample.name}: the lens sees nothing in the box {sample.box.tolist()}")
            windows.append(window)
            crops.append(cut_crops(sample.load_image(), sample.camera, window, size))
        joined = CropWindows.concatenate(windows)
        result = self._backend.infer(np.concatenate(crops), joined.normalised)
        rotation = joined.camera_R_virtual @ result.rotation
        translation = np.einsum("nij,nj->ni", joined.camera_R_virtual, result.translation)
        return PoseSet(rotation, translation, result.landmarks_head.astype(np.float64))


@dataclass(frozen=True)
class Evaluation:
    """The outcome for N samples that have a pose.

    names      of the samples; indices: where they are in the data set.
    predicted  and truth: rotations (N, 3, 3) and translations (N, 3), metres.
    errors     arrays (N,): geodesic_deg, yaw_deg, pitch_deg, roll_deg, tx_m, ty_m, tz_m, add_m; and where
               prediction and truth have the same landmarks, landmark_m and face_size_mm2.
    origin_offset  (3,) metres: where the truth's head origin is in the network's head frame, on average.
    aligned    the same errors after moving the network's head origin there.
    failures   predictions that another method had to stand in for.
    """

    dataset: str
    names: list[str]
    indices: NDArray[np.int64]
    predicted_rotation: Array
    predicted_translation: Array
    rotation: Array
    translation: Array
    errors: dict[str, Array]
    origin_offset: Array
    aligned: dict[str, Array]
    failures: int = 0

    @property
    def yaw_deg(self) -> Array:
        """(N,) true yaw."""
        return np.asarray(euler_yxz_degrees(self.rotation))[:, 0]

    @property
    def distance_m(self) -> Array:
        """(N,) true distance of the head's origin."""
        return np.linalg.norm(self.translation, axis=1)

    def worst(self, count: int) -> NDArray[np.int64]:
        """Rows of the largest ADD, worst first."""
        return np.argsort(-self.errors["add_m"])[:count]


def evaluate_dataset(
    predict: Predict,
    dataset: HeadDataset,
    batch_size: int = 32,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Evaluation:
    """Run the protocol. Samples without a pose are left out.

    :param predict: a `NetworkPredictor`, or anything that says poses of samples.
    :param progress: wraps the iteration over batches, e.g. in a progress bar.
    :raises InputError: when no sample has a pose.
    """
    rows: list[tuple[int, str, PoseSet, PoseSet, dict[str, Array]]] = []
    for first in progress(range(0, len(dataset), batch_size)):
        indices = range(first, min(first + batch_size, len(dataset)))
        samples = [(index, dataset[index]) for index in indices]
        chosen = [(index, sample) for index, sample in samples if sample.has_pose]
        if not chosen:
            continue
        predicted = predict([sample for _, sample in chosen])
        for row, (index, sample) in enumerate(chosen):
            mine, truth = _row(predicted, row), _truth(sample)
            rows.append((index, sample.name, mine, truth, _sample_errors(mine, truth, sample, dataset)))
    if not rows:
        raise InputError(f"{dataset.title}: no sample has a pose to compare with")
    return _with_alignment(_collect(rows, dataset, getattr(predict, "failures", 0)), dataset)


def summarise_protocol(errors: dict[str, Array]) -> dict[str, float]:
    """The paper's columns, degrees and millimetres (face size: mm^2), over the samples of `errors`.

    landmarks_mean and landmarks_median are over the samples' mean distances.
    """
    mean = {name: float(values.mean()) for name, values in errors.items()}
    angles = {name: mean[f"{name}_deg"] for name in ("yaw", "pitch", "roll")}
    shifts = {name: 1e3 * mean[f"{name}_m"] for name in ("tx", "ty", "tz")}
    summary = {
        **angles,
        "mae_r": sum(angles.values()) / 3,
        "ge": mean["geodesic_deg"],
        **shifts,
        "mae_t": sum(shifts.values()) / 3,
        "add": 1e3 * mean["add_m"],
    }
    if "landmark_m" in errors:
        summary["landmarks_mean"] = 1e3 * mean["landmark_m"]
        summary["landmarks_median"] = 1e3 * float(np.median(errors["landmark_m"]))
        summary["face_size"] = mean["face_size_mm2"]
    return summary


def binned(
    errors: dict[str, Array], by: Array, edges: Sequence[float]
) -> list[tuple[float, float, int, dict[str, float]]]:
    """(low, high, number, summary) of the samples whose `by` is in [low, high); empty bins are left out."""
    bins = []
    for low, high in pairwise(edges):
        inside = (by >= low) & (by < high)
        if inside.any():
            chosen = {name: values[inside] for name, values in errors.items()}
            bins.append((float(low), float(high), int(inside.sum()), summarise_protocol(chosen)))
    return bins


def add_distance(
    rotation: Array, translation: Array, true_rotation: Array, true_translation: Array, vertices_head: Array
) -> float:
    """ADD: mean distance, metres, of the vertices (M, 3) moved by both poses."""
    difference = vertices_head @ (rotation - true_rotation).T + (translation - true_translation)
    return float(np.linalg.norm(difference, axis=1).mean())


def surface_area(points: Array, triangles: NDArray[np.int64]) -> float:
    """Sum of the areas of triangles (T, 3) between points (M, 3), in the square of their unit."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def mean_origin_offset(rotation: Array, translation: Array, true_translation: Array) -> Array:
    """The offset o (3,) in the head frame that minimises the sum of |R o + t - t_true|^2 over N poses."""
    return np.einsum("nji,nj->ni", rotation, true_translation - translation).mean(axis=0)


def _row(poses: PoseSet, row: int) -> PoseSet:
    chosen = slice(row, row + 1)
    return PoseSet(poses.rotation[chosen], poses.translation[chosen], poses.landmarks_head[chosen])


def _truth(sample: Sample) -> PoseSet:
    pose, landmarks = sample.camera_T_head, sample.landmarks_head
    if pose is None:
        raise InputError(f"{sample.name} has no pose")
    return PoseSet(
        pose[None, :3, :3], pose[None, :3, 3], np.zeros((1, 0, 3)) if landmarks is None else landmarks[None]
    )


def _sample_errors(mine: PoseSet, truth: PoseSet, sample: Sample, dataset: HeadDataset) -> dict[str, Array]:
    same_landmarks = mine.landmarks_head.shape == truth.landmarks_head.shape
    if not same_landmarks:
        nothing = np.full((1, 1, 3), np.nan)
        mine, truth = replace(mine, landmarks_head=nothing), replace(truth, landmarks_head=nothing)
    errors = per_sample_errors(mine, truth)
    vertices = np.zeros((1, 3)) if sample.vertices_head is None else sample.vertices_head
    add = add_distance(
        mine.rotation[0], mine.translation[0], truth.rotation[0], truth.translation[0], vertices
    )
    errors["add_m"] = np.array([add])
    if same_landmarks and dataset.topology is not None:
        triangles = dataset.topology.triangles
        areas = [surface_area(poses.landmarks_head[0], triangles) for poses in (mine, truth)]
        errors["face_size_mm2"] = np.array([1e6 * abs(areas[0] - areas[1])])
    else:
        del errors["landmark_m"]
    return errors


def _collect(
    rows: list[tuple[int, str, PoseSet, PoseSet, dict[str, Array]]], dataset: HeadDataset, failures: int
) -> Evaluation:
    indices, names, predicted, truth, errors = zip(*rows, strict=True)
    common = set(errors[0]).intersection(*errors)
    joined = {name: np.concatenate([one[name] for one in errors]) for name in errors[0] if name in common}
    return Evaluation(
        dataset=dataset.title,
        names=list(names),
        indices=np.array(indices),
        predicted_rotation=np.concatenate([poses.rotation for poses in predicted]).astype(np.float64),
        predicted_translation=np.concatenate([poses.translation for poses in predicted]).astype(np.float64),
        rotation=np.concatenate([poses.rotation for poses in truth]),
        translation=np.concatenate([poses.translation for poses in truth]),
        errors=joined,
        origin_offset=np.zeros(3),
        aligned={},
        failures=failures,
    )


def _with_alignment(evaluation: Evaluation, dataset: HeadDataset) -> Evaluation:
    """Errors without the constant offset between the head origins. Rotations don't change by it."""
    rotation, translation = evaluation.predicted_rotation, evaluation.predicted_translation
    offset = mean_origin_offset(rotation, translation, evaluation.translation)
    moved = translation + rotation @ offset
    shift = np.abs(moved - evaluation.translation)
    add = np.empty(len(moved))
    for row, index in enumerate(evaluation.indices):  # read again: all vertices at once would fill the memory
        vertices = dataset[int(index)].vertices_head
        vertices = np.zeros((1, 3)) if vertices is None else vertices
        add[row] = add_distance(
            rotation[row], moved[row], evaluation.rotation[row], evaluation.translation[row], vertices
        )
    unchanged = ("geodesic_deg", "yaw_deg", "pitch_deg", "roll_deg")
    aligned = {name: evaluation.errors[name] for name in unchanged}
    aligned |= {f"t{axis}_m": shift[:, column] for column, axis in enumerate("xyz")}
    aligned["tz_relative"] = shift[:, 2] / evaluation.translation[:, 2]
    aligned["add_m"] = add
    return replace(evaluation, origin_offset=offset, aligned=aligned)
