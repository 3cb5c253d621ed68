"""Learned covariances: the head, its training, its way from the network's frame to the published one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_network import small_network

from trg_ros.backends import NetworkResult
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import (
    Checkpoint,
    CheckpointInfo,
    load_checkpoint,
    lossless_dtype,
    save_checkpoint,
)
from trg_ros.crop import CropWindows
from trg_ros.errors import CheckpointError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.model.topology import SELLION
from trg_ros.model.uncertainty import INPUTS, NUMBERS, RESIDUAL_UNIT, UncertaintyHead, pose_factor
from trg_ros.uncertainty import face_origin, learned_covariances, uncertainty_inputs

COUNT = 40_000


def some_head(seed: int = 0, hidden: int = 8, output: float = 0.1) -> UncertaintyHead:
    rng = np.random.default_rng(seed)
    shapes = ((hidden, INPUTS), (hidden,), (NUMBERS, hidden), (NUMBERS,))
    scales = (0.1, 0.1, output, 0.5)
    return UncertaintyHead(
        *(
            scale * rng.standard_normal(shape).astype(np.float32)
            for scale, shape in zip(scales, shapes, strict=True)
        )
    )


def small_checkpoint(head: UncertaintyHead | None = None) -> Checkpoint:
    model = small_network()
    state = {name: value.detach() for name, value in model.state_dict().items()}
    return Checkpoint(model.config, model.topology, CheckpointInfo(name="small"), state, head)


def some_result(count: int, seed: int = 0) -> tuple[NetworkResult, CropWindows]:
    """Heads in front of virtual cameras that look all over the place."""
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(-0.1, 0.1, (count, 68, 3)).astype(np.float32)
    rotation = Rotation.random(count, random_state=seed).as_matrix()
    translation = rng.uniform([-0.1, -0.1, 0.4], [0.1, 0.1, 2.0], (count, 3))
    seen = rng.uniform(-0.5, 0.5, (count, 68, 2))
    arrays = (landmarks, rotation, translation, seen, landmarks.reshape(count, -1))
    windows = CropWindows(
        rng.uniform(-0.1, 0.1, (count, 2)),
        rng.uniform(0.1, 0.3, count),
        Rotation.random(count, random_state=seed + 1).as_matrix(),
    )
    return NetworkResult(*(array.astype(np.float32) for array in arrays)), windows


def test_published_covariances_are_those_of_simulated_errors() -> None:
    """Errors are drawn as the head means them, in virtual cameras and over the depth; what comes of them in
    the real camera's frame, metres and radians, has the covariance that is published."""
    result, windows = some_result(3)
    head = dataclasses.replace(
        some_head(), output_bias=np.r_[np.full(6, -1.5), np.full(15, 0.4)].astype(np.float32)
    )
    published = learned_covariances(head, result, windows)
    factors = head(uncertainty_inputs(result, windows))
    origin, rng = face_origin(result), np.random.default_rng(0)
    for i, camera_R_virtual in enumerate(windows.camera_R_virtual):
        error = rng.standard_normal((COUNT, 6)) @ factors[i].T
        estimated = Rotation.from_matrix(result.rotation[i].astype(np.float64))
        true_place = origin[i] - error[:, :3] * origin[i, 2]
        true_rotation = Rotation.from_rotvec(-error[:, 3:]) * estimated
        to_camera = Rotation.from_matrix(camera_R_virtual)
        place_error = to_camera.apply(origin[i]) - to_camera.apply(true_place)
        turn = (to_camera * estimated) * (to_camera * true_rotation).inv()
        simulated = np.cov(np.concatenate([place_error, turn.as_rotvec()], axis=1).T)
        scale = np.sqrt(np.outer(np.diag(published[i]), np.diag(published[i])))
        np.testing.assert_allclose(simulated / scale, published[i] / scale, atol=0.03)


def test_any_numbers_make_a_covariance_of_bounded_size() -> None:
    numbers = 100 * np.random.default_rng(0).standard_normal((200, NUMBERS))
    factor = pose_factor(numbers)
    eigenvalues = np.linalg.eigvalsh(
        factor / RESIDUAL_UNIT[:, None] @ np.swapaxes(factor / RESIDUAL_UNIT[:, None], 1, 2)
    )
    assert eigenvalues.min() > 1e-6 and eigenvalues.max() < 6 * np.exp(6.0) * 1.001
    deviation = np.sqrt((factor**2).sum(axis=2))
    np.testing.assert_allclose(deviation, np.exp(np.clip(numbers[:, :6], -3, 3)) * RESIDUAL_UNIT, rtol=1e-9)
    np.testing.assert_allclose(pose_factor(torch.from_numpy(numbers)).numpy(), factor, rtol=1e-9)


def test_training_recovers_the_covariance_of_gaussian_residuals() -> None:
    training = pytest.importorskip("trg_ros.training.uncertainty", reason="training needs the extra [train]")
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((6000, INPUTS)) * rng.uniform(0.1, 3, INPUTS) + 5
    size = np.exp(0.5 * (inputs[:, 3] - 5) / inputs[:, 3].std())
    mixing = np.tril(rng.uniform(-0.6, 0.6, (6, 6)), -1) + np.eye(6)
    true_factor = mixing * RESIDUAL_UNIT[:, None]
    residuals = (rng.standard_normal((6000, 6)) @ true_factor.T) * size[:, None]
    head = training.fit_head(inputs, residuals)
    factor = head(inputs)
    covariance = factor @ factor.transpose(0, 2, 1)
    true = true_factor @ true_factor.T
    scale = np.sqrt(np.outer(np.diag(true), np.diag(true)))
    small, large = size < np.quantile(size, 0.3), size > np.quantile(size, 0.7)
    for chosen in (small, large):
        normalised = (covariance[chosen] / size[chosen, None, None] ** 2).mean(axis=0)
        np.testing.assert_allclose(normalised / scale, true / scale, atol=0.25)
    assert covariance[large].mean() > 3 * covariance[small].mean()


def test_scaling_brings_errors_to_the_ellipsoids() -> None:
    training = pytest.importorskip("trg_ros.training.uncertainty", reason="training needs the extra [train]")
    calibration = pytest.importorskip("trg_ros.evaluation.calibration", reason="needs the extra [train]")
    rng, head = np.random.default_rng(0), some_head()
    inputs = rng.standard_normal((4000, INPUTS))
    factor = head(inputs)
    residuals = 1.7 * np.einsum("nij,nj->ni", factor, rng.standard_normal((4000, 6)))
    before = calibration.calibration(residuals, factor @ factor.transpose(0, 2, 1))
    np.testing.assert_allclose(list(before["mean_square"].values()), 1.7**2, rtol=0.1)
    scaled = training.scaled_to(head, inputs, residuals)(inputs)
    after = calibration.calibration(residuals, scaled @ scaled.transpose(0, 2, 1))
    np.testing.assert_allclose(list(after["mean_square"].values()), 1.0, rtol=0.1)
    assert abs(after["inside_95"] - 0.95) < 0.015 < abs(before["inside_95"] - 0.95)
    assert after["samples"] == 4000


def test_the_head_comes_back_from_a_file_and_old_files_have_none(tmp_path: Path) -> None:
    head = some_head()
    with_head = save_checkpoint(tmp_path / "with.safetensors", small_checkpoint(head), np.float16)
    loaded = load_checkpoint(with_head).uncertainty
    assert loaded is not None
    for entry in dataclasses.fields(UncertaintyHead):
        np.testing.assert_array_equal(getattr(loaded, entry.name), getattr(head, entry.name))
    assert (
        load_checkpoint(save_checkpoint(tmp_path / "old.safetensors", small_checkpoint())).uncertainty is None
    )


def test_a_head_that_does_not_fit_is_refused() -> None:
    tensors = some_head().to_tensors()
    with pytest.raises(CheckpointError, match="hidden_bias"):
        UncertaintyHead.from_tensors({"hidden_weight": tensors["hidden_weight"]})
    with pytest.raises(CheckpointError, match="don't fit"):
        UncertaintyHead.from_tensors({**tensors, "hidden_bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="NaN"):
        UncertaintyHead.from_tensors({**tensors, "output_bias": torch.full((NUMBERS,), torch.nan)})


def test_storing_in_half_precision_only_what_was_stored_so(tmp_path: Path) -> None:
    full = small_checkpoint()
    assert lossless_dtype(full.weights) == np.float32
    half = load_checkpoint(save_checkpoint(tmp_path / "half.safetensors", full, np.float16))
    assert lossless_dtype(half.weights) == np.float16


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


BOXES = [[10, 10, 80, 80], [200, 100, 300, 200], [400, 50, 440, 90]]
CAMERA = CameraModel.from_fov(60.0, 640, 480)


def heads_of(checkpoint: Checkpoint, crops: np.ndarray, rows: slice = slice(None), **options: str) -> list:
    estimator = HeadPoseEstimator.load(
        checkpoint, device="cpu", detector=None, **{"backend": "torch", **options}
    )
    return estimator.estimate_crops(crops[rows], BOXES[rows], CAMERA)


def test_poses_stay_bit_by_bit_and_covariances_differ_from_head_to_head(crops: np.ndarray) -> None:
    without, sure = (heads_of(small_checkpoint(head), crops) for head in (None, some_head()))
    for a, b in zip(without, sure, strict=True):
        np.testing.assert_array_equal(a.camera_T_face, b.camera_T_face)
        np.testing.assert_array_equal(a.landmarks_camera, b.landmarks_camera)
        assert np.linalg.eigvalsh(b.covariance).min() > 0
    correlations = [
        head.covariance[0, 1] / np.sqrt(head.covariance[0, 0] * head.covariance[1, 1]) for head in sure
    ]
    assert np.ptp(correlations) > 1e-3


def test_a_head_alone_and_among_others_is_equally_sure(crops: np.ndarray) -> None:
    together = heads_of(small_checkpoint(some_head()), crops)
    for i, head in enumerate(together):
        (alone,) = heads_of(small_checkpoint(some_head()), crops, slice(i, i + 1))
        np.testing.assert_allclose(alone.covariance, head.covariance, rtol=1e-3, atol=1e-12)


def test_back_ends_agree_on_covariances(crops: np.ndarray) -> None:
    pytest.importorskip("openvino", reason="compares with OpenVINO")
    one, other = (
        heads_of(small_checkpoint(some_head()), crops, backend=name) for name in ("torch", "openvino")
    )
    for a, b in zip(one, other, strict=True):
        scale = np.sqrt(np.outer(np.diag(a.covariance), np.diag(a.covariance)))
        np.testing.assert_allclose(b.covariance / scale, a.covariance / scale, atol=1e-3)


def test_pnp_does_not_borrow_certainty_from_trg(crops: np.ndarray) -> None:
    """Its errors are others."""
    with_head, without = (
        heads_of(small_checkpoint(head), crops, pose_source="pnp") for head in (some_head(), None)
    )
    for a, b in zip(with_head, without, strict=True):
        np.testing.assert_array_equal(a.covariance, b.covariance)


def test_without_a_face_it_is_less_sure_than_the_head_was_taught() -> None:
    """The inputs that a network's two opinions give rise with their distance."""
    result, windows = some_result(1)
    sellion = result.landmarks68_head[:, SELLION].astype(np.float64)
    assert np.allclose(
        face_origin(result), (result.rotation @ sellion[..., None])[..., 0] + result.translation
    )
    points = result.landmarks68_head @ result.rotation.transpose(0, 2, 1) + result.translation[:, None]
    agreed = 2 * (points[..., :2] / points[..., 2:] - windows.center[:, None]) / windows.size[:, None, None]
    rng = np.random.default_rng(0)
    inputs = [
        uncertainty_inputs(
            dataclasses.replace(
                result, landmarks68_crop=(agreed + noise * rng.standard_normal(agreed.shape))
            ),
            windows,
        )[0]
        for noise in (0.0, 0.02, 0.2)
    ]
    distance = [values[15] for values in inputs]  # the logarithm of the mean distance
    assert distance[0] < distance[1] < distance[2]
    assert np.isfinite(inputs).all()
