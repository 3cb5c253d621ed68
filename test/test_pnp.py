"""Landmarks-then-PnP: exact on exact points, robust against outliers, and selectable as a backend."""

import numpy as np
import pytest
from dataset_fixtures import face, heads
from small_network import small_network

from trg_ros.backends import NetworkResult
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.geometry import geodesic_distance
from trg_ros.pnp import INLIER_DISTANCE, PnPBackend, solve_pnp, with_pose_source

LANDMARKS, TOPOLOGY = face()
POINTS = LANDMARKS[TOPOLOGY.landmarks68]


def plane_of(pose: np.ndarray) -> np.ndarray:
    camera = POINTS @ pose[:3, :3].T + pose[:3, 3]
    return camera[:, :2] / camera[:, 2:]


@pytest.mark.parametrize("truth", heads(6, seed=1))
def test_exact_points_give_the_exact_pose(truth):
    pose = solve_pnp(POINTS, plane_of(truth.camera_T_head), 0.005)
    np.testing.assert_allclose(pose, truth.camera_T_head, atol=1e-6)


@pytest.mark.parametrize("truth", heads(6, seed=2))
def test_a_fifth_of_outliers_does_not_matter(truth):
    rng = np.random.default_rng(4)
    plane = plane_of(truth.camera_T_head)
    wrong = rng.choice(68, 14, replace=False)
    plane[wrong] += rng.uniform(0.05, 0.1, (14, 2)) * rng.choice([-1, 1], (14, 2))
    pose = solve_pnp(POINTS, plane, 0.005)
    np.testing.assert_allclose(pose, truth.camera_T_head, atol=1e-6)


def test_noise_moves_the_distance_most():
    """What the paper criticises: the small image errors of landmarks become large errors of depth."""
    rng = np.random.default_rng(5)
    errors = []
    for truth in heads(60, seed=6, near=0.5, far=0.6):
        plane = plane_of(truth.camera_T_head)
        size = 1.5 * np.ptp(plane, axis=0).max()
        pose = solve_pnp(POINTS, plane + rng.normal(0, 0.01 * size, plane.shape), 0.05 * size)
        errors.append(np.abs(pose[:3, 3] - truth.camera_T_head[:3, 3]))
        assert np.rad2deg(geodesic_distance(pose[:3, :3], truth.camera_T_head[:3, :3])) < 10
    mean = np.mean(errors, axis=0)
    assert mean[2] > 2 * max(mean[0], mean[1])


def test_no_pose_from_nonsense():
    rng = np.random.default_rng(7)
    assert solve_pnp(POINTS, rng.uniform(-1, 1, (68, 2)), 1e-6) is None
    assert solve_pnp(POINTS, np.full((68, 2), np.nan), 0.01) is None
    assert solve_pnp(POINTS, np.full((68, 2), 0.1), 0.01) is None
    with pytest.raises(InputError, match=r"not \(68, 3\) and \(3, 2\)"):
        solve_pnp(POINTS, np.zeros((3, 2)), 0.01)


def test_no_pose_behind_the_camera():
    """Of points at random the best consensus is there now and then."""
    rng = np.random.default_rng(0)
    poses = [solve_pnp(POINTS, rng.uniform(-1, 1, (68, 2)), 0.3) for _ in range(20)]
    assert sum(pose is None for pose in poses) in range(1, 20)
    assert all(pose[2, 3] > 0 for pose in poses if pose is not None)


class _TwoHeads:
    """Says the right landmarks, a wrong pose, and a good and a senseless 2D opinion."""

    device, name = "cpu", "said"

    def __init__(self, truth) -> None:
        self.plane = plane_of(truth.camera_T_head)
        low, high = self.plane.min(axis=0), self.plane.max(axis=0)
        self.box = np.array([*(low + high) / 2, 1.5 * (high - low).max()], np.float32)

    def infer(self, crops_rgb, boxes):
        good = 2 * (self.plane - self.box[:2]) / self.box[2]
        good[:10] += 2 * 2 * INLIER_DISTANCE  # outliers: twice as far off as may be, over half a side
        bad = np.full((68, 2), np.nan)
        return NetworkResult(
            np.repeat(LANDMARKS[None, TOPOLOGY.landmarks68], 2, axis=0).astype(np.float32),
            np.repeat(np.eye(3)[None], 2, axis=0).astype(np.float32),
            np.array([[0, 0, 1], [0, 0, 1]], np.float32),
            np.stack([good, bad]).astype(np.float32),
            np.repeat(LANDMARKS.reshape(1, -1), 2, axis=0).astype(np.float32),
        )


def test_backend_with_pnp_poses():
    truth = heads(1, seed=8)[0]
    network = _TwoHeads(truth)
    backend = with_pose_source(network, "pnp")
    result = backend.infer(np.zeros((2, 8, 8, 3), np.uint8), np.stack([network.box] * 2))
    np.testing.assert_allclose(result.rotation[0], truth.camera_T_head[:3, :3], atol=1e-4)
    np.testing.assert_allclose(result.translation[0], truth.camera_T_head[:3, 3], atol=1e-3)
    np.testing.assert_allclose(result.translation[1], [0, 0, 1])
    assert isinstance(backend, PnPBackend) and backend.failures == 1
    assert (backend.device, backend.name) == ("cpu", "said, PnP")
    assert with_pose_source(network, "trg") is network
    with pytest.raises(InputError, match="it must be trg or pnp"):
        with_pose_source(network, "depth")


def test_estimator_by_name():
    model = small_network()
    checkpoint = Checkpoint(model.config, model.topology, CheckpointInfo(name="s"), model.state_dict())
    estimator = HeadPoseEstimator.load(checkpoint, "cpu", "torch", detector=None, pose_source="pnp")
    assert estimator.backend.name.endswith(", PnP")
    camera = CameraModel.from_fov(60, 320, 240)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    assert len(estimator.estimate(image, camera, [[100, 60, 200, 160]], refine=0)) == 1
    with pytest.raises(InputError, match="it must be trg or pnp"):
        HeadPoseEstimator.load(checkpoint, "cpu", "torch", pose_source="epnp")
