"""The protocol by its mathematics: against scipy and closed forms, and end to end on written data sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import face, heads, write_300wlp, write_arkitface, write_biwi, write_rendered
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from small_network import small_network

from trg_ros.checkpoint import Checkpoint, CheckpointInfo
from trg_ros.datasets.arkitface import ARKitFace
from trg_ros.datasets.biwi import BIWI
from trg_ros.datasets.rendered import RenderedHeads
from trg_ros.datasets.w300lp import W300LP
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.evaluation.metrics import PoseSet, per_sample_errors
from trg_ros.evaluation.protocol import (
    NetworkPredictor,
    add_distance,
    binned,
    evaluate_dataset,
    mean_origin_offset,
    summarise_protocol,
    surface_area,
)
from trg_ros.evaluation.report import PUBLISHED, markdown_table, worst_cases, write_report

ANGLES = st.floats(-60, 60)


def perfect(samples) -> PoseSet:
    """The truth; the initial face where a data set has no landmarks."""
    landmarks = [face()[0] if s.landmarks_head is None else s.landmarks_head for s in samples]
    poses = np.stack([s.camera_T_head for s in samples])
    return PoseSet(poses[:, :3, :3], poses[:, :3, 3], np.stack(landmarks))


NO_TURN = np.eye(3)


def changed(turn=NO_TURN, shift=(0, 0, 0), scale=1.0, origin=(0, 0, 0)):
    """A predictor with known faults: turned in the camera, shifted, faces scaled, another head origin."""

    def predict(samples):
        truth = perfect(samples)
        rotation = turn @ truth.rotation
        translation = truth.translation + shift - rotation @ np.asarray(origin, float)
        return PoseSet(rotation, translation, scale * truth.landmarks_head)

    return predict


@settings(max_examples=40, deadline=None)
@given(st.lists(ANGLES, min_size=6, max_size=6))
def test_angles_against_scipy(angles):
    pair = Rotation.from_euler("yxz", [angles[:3], angles[3:]], degrees=True)
    zero = np.array([[0.0, 0, 1]])
    mine, truth = (PoseSet(matrix[None], zero, zero[None]) for matrix in pair.as_matrix())
    errors = per_sample_errors(mine, truth)
    euler = pair.as_euler("yxz", degrees=True)
    wrapped = np.abs((euler[0] - euler[1] + 180) % 360 - 180)
    for name, value in zip(("yaw_deg", "pitch_deg", "roll_deg"), wrapped, strict=True):
        assert errors[name][0] == pytest.approx(value, abs=1e-6)
    geodesic = np.rad2deg((pair[0].inv() * pair[1]).magnitude())
    assert errors["geodesic_deg"][0] == pytest.approx(geodesic, abs=1e-5)


def test_yaw_error_across_180_degrees_is_small():
    pair = Rotation.from_euler("yxz", [[179, 0, 0], [-179, 0, 0]], degrees=True).as_matrix()
    zero = np.array([[0.0, 0, 1]])
    errors = per_sample_errors(PoseSet(pair[:1], zero, zero[None]), PoseSet(pair[1:], zero, zero[None]))
    assert errors["yaw_deg"][0] == pytest.approx(2)


def test_add_closed_forms():
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(50, 3))
    rotation = Rotation.random(rng=rng).as_matrix()
    assert add_distance(rotation, np.array([1, 2, 2.0]), rotation, np.zeros(3), vertices) == pytest.approx(3)
    ring = np.stack([np.cos(vertices[:, 0]), np.sin(vertices[:, 0]), vertices[:, 1]], axis=1) * (0.1, 0.1, 1)
    turned = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    expected = 2 * 0.1 * np.sin(np.deg2rad(10))
    assert add_distance(turned, np.zeros(3), np.eye(3), np.zeros(3), ring) == pytest.approx(expected)


def test_surface_area_closed_forms():
    square = np.array([[0, 0, 0], [2, 0, 0], [2, 3, 0], [0, 3, 0.0]])
    assert surface_area(square, np.array([[0, 1, 2], [0, 2, 3]])) == pytest.approx(6)
    hull = ConvexHull(np.random.default_rng(1).normal(size=(40, 3)))
    assert surface_area(hull.points, hull.simplices) == pytest.approx(hull.area)


def test_origin_offset_is_the_least_squares_one():
    rng = np.random.default_rng(2)
    rotation, translation = Rotation.random(30, rng=rng).as_matrix(), rng.normal(size=(30, 3))
    truth = translation + rng.normal(size=(30, 3))
    matrix, right = rotation.reshape(-1, 3), (truth - translation).ravel()
    expected = np.linalg.lstsq(matrix, right, rcond=None)[0]
    np.testing.assert_allclose(mean_origin_offset(rotation, translation, truth), expected, atol=1e-12)


@pytest.fixture
def arkitface(tmp_path: Path) -> ARKitFace:
    write_arkitface(tmp_path, heads(6, seed=11))
    return ARKitFace(tmp_path)


def test_truth_has_no_error(arkitface):
    evaluation = evaluate_dataset(perfect, arkitface, batch_size=4)
    assert len(evaluation.names) == 6
    for summary in (summarise_protocol(evaluation.errors), summarise_protocol(evaluation.aligned)):
        assert max(summary.values()) < 1e-5, summary


def test_known_faults_are_measured(arkitface):
    """Roll about the camera's z is an outer Euler angle of 'yxz': it is the roll error alone."""
    turn = Rotation.from_euler("z", 3, degrees=True).as_matrix()
    evaluation = evaluate_dataset(changed(turn, (0.001, -0.002, 0.03), 1.01), arkitface)
    summary = summarise_protocol(evaluation.errors)
    assert (summary["yaw"], summary["pitch"], summary["roll"]) == pytest.approx((0, 0, 3), abs=1e-6)
    assert summary["mae_r"] == pytest.approx(1) and summary["ge"] == pytest.approx(3)
    assert (summary["tx"], summary["ty"], summary["tz"]) == pytest.approx((1, 2, 30))
    assert summary["mae_t"] == pytest.approx(11)
    sizes = [np.linalg.norm(sample.landmarks_head, axis=1).mean() for sample in arkitface]
    assert summary["landmarks_mean"] == pytest.approx(10 * np.mean(sizes))
    assert summary["landmarks_median"] == pytest.approx(10 * np.median(sizes))
    areas = [surface_area(sample.landmarks_head, arkitface.topology.triangles) for sample in arkitface]
    assert summary["face_size"] == pytest.approx(1e6 * (1.01**2 - 1) * np.mean(areas), rel=1e-6)


def test_alignment_removes_a_constant_origin_offset_and_nothing_else(arkitface):
    offset = (0.004, -0.02, 0.035)
    evaluation = evaluate_dataset(changed(origin=offset), arkitface)
    assert summarise_protocol(evaluation.errors)["add"] == pytest.approx(1e3 * np.linalg.norm(offset))
    np.testing.assert_allclose(evaluation.origin_offset, offset, atol=1e-9)
    assert summarise_protocol(evaluation.aligned)["add"] < 1e-5
    turn = Rotation.from_euler("y", 4, degrees=True).as_matrix()
    with_turn = evaluate_dataset(changed(turn, origin=offset), arkitface)
    assert summarise_protocol(with_turn.aligned)["ge"] == pytest.approx(4)
    too_far = evaluate_dataset(changed(shift=(0, 0, 0.2)), arkitface)
    depth_error, depth = too_far.aligned["tz_m"], too_far.translation[:, 2]
    assert depth_error.max() > 0.01
    np.testing.assert_allclose(too_far.aligned["tz_relative"], depth_error / depth)


def test_biwi_add_is_measured_on_the_head_mesh(tmp_path):
    write_biwi(tmp_path, heads(3, seed=12))
    evaluation = evaluate_dataset(changed(shift=(0, 0, 0.01)), BIWI(tmp_path, boxes="mesh"))
    summary = summarise_protocol(evaluation.errors)
    assert summary["add"] == pytest.approx(10) and summary["tz"] == pytest.approx(10)
    assert "landmarks_mean" not in summary, "BIWI's mesh has no landmark of ours"


def test_samples_without_pose_cannot_be_evaluated(tmp_path):
    write_300wlp(tmp_path, 1)
    with pytest.raises(InputError, match="no sample has a pose"):
        evaluate_dataset(perfect, W300LP(tmp_path))


def test_bins_hold_every_sample_once(arkitface):
    evaluation = evaluate_dataset(changed(shift=(0, 0, 0.02)), arkitface)
    bins = binned(evaluation.errors, evaluation.distance_m, (0, 0.5, 0.7, np.inf))
    assert sum(count for _, _, count, _ in bins) == 6
    for low, high, count, summary in bins:
        inside = (evaluation.distance_m >= low) & (evaluation.distance_m < high)
        assert count == inside.sum() and summary["tz"] == pytest.approx(20)


def small_checkpoint(seed: int = 0) -> Checkpoint:
    model = small_network(seed)
    return Checkpoint(model.config, model.topology, CheckpointInfo(name="small"), model.state_dict())


def test_the_protocol_s_network_is_the_estimator_s(tmp_path):
    write_rendered(tmp_path, 3)
    dataset = RenderedHeads(tmp_path)
    checkpoint = small_checkpoint()
    poses = NetworkPredictor(checkpoint, "cpu")(list(dataset))
    estimator = HeadPoseEstimator.load(checkpoint, "cpu", "torch", detector=None)
    for row, sample in enumerate(dataset):
        head = estimator.estimate(sample.load_image(), sample.camera, [sample.box], refine=0)[0]
        np.testing.assert_allclose(poses.rotation[row], head.rotation, atol=1e-5)
        np.testing.assert_allclose(poses.translation[row], head.translation, rtol=1e-5)
        np.testing.assert_allclose(poses.landmarks_head[row], head.landmarks_head, atol=1e-6)


def test_report_files(tmp_path, arkitface):
    turn = Rotation.from_euler("z", 2, degrees=True).as_matrix()
    evaluation = evaluate_dataset(changed(turn), arkitface)
    values = write_report(tmp_path / "out", evaluation, arkitface, "some/where/net.safetensors")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == values
    assert values["errors"]["roll"] == pytest.approx(2) and values["samples"] == 6
    assert sum(entry["samples"] for entry in values["by"]["yaw_deg"]) == 6
    table = (tmp_path / "out" / "report.md").read_text()
    assert (
        "net.safetensors (trg)" in table and "| TRG + 300W-LP, paper | 0.88 | 1.29 | 0.57 | 0.91 |" in table
    )
    columns = {line.count("|") for line in table.splitlines()}
    assert len(columns) == 1, "every row has every column"
    assert (tmp_path / "out" / "worst.png").stat().st_size > 1000


def test_worst_cases_come_first_and_are_drawn(arkitface):
    def one_wrong(samples):
        poses = perfect(samples)
        poses.translation[3] += (0, 0, 0.2)
        return poses

    evaluation = evaluate_dataset(one_wrong, arkitface, batch_size=10)
    assert evaluation.worst(2)[0] == 3
    picture = worst_cases(evaluation, arkitface, 2)
    assert picture.shape[2] == 3 and picture.std() > 10


def test_published_means_are_means_of_their_columns():
    """A misprint in our copy of the paper's table would show here."""
    for rows in PUBLISHED.values():
        row = rows["TRG + 300W-LP, paper"]
        assert np.mean([row["yaw"], row["pitch"], row["roll"]]) == pytest.approx(row["mae_r"], abs=0.011)
        assert np.mean([row["tx"], row["ty"], row["tz"]]) == pytest.approx(row["mae_t"], abs=0.011)


def test_table_without_published_rows(tmp_path):
    write_rendered(tmp_path, 2)
    dataset = RenderedHeads(tmp_path)
    table = markdown_table(evaluate_dataset(perfect, dataset), "ours")
    assert "paper" not in table and table.startswith("| rendered heads |")
