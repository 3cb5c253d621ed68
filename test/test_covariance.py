"""The published covariance against a Monte Carlo simulation of what the checkpoint's errors mean."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

from types import SimpleNamespace
from typing import Any

from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from trg_ros.geometry import make_transform
from trg_ros.heads import covariances
from trg_ros.ros.frame import StampedHeads
from trg_ros.ros.messages import pose_with_covariance_stamped

ERRORS = {"rotation_std_deg": [2.0, 5.0, 1.0], "translation_std_relative": [0.01, 0.02, 0.06]}
COUNT = 40_000


@pytest.mark.parametrize("place", [[0.0, 0.0, 1.0], [0.9, 0.1, 0.8], [-0.3, -0.8, 1.5]])
def test_the_published_covariance_is_that_of_simulated_errors(place):
    """Errors happen along and across the viewing ray; published are x y z and rotations about fixed axes."""
    place, truth = np.array(place), Rotation.from_euler("xyz", [100, 20, -70], degrees=True)
    rng = np.random.default_rng(0)
    distance = np.linalg.norm(place)
    axis = np.cross([0, 0, 1], place / distance)
    angle = np.arctan2(np.linalg.norm(axis), place[2] / distance)
    turn = Rotation.from_rotvec(angle * axis / max(np.linalg.norm(axis), 1e-12))  # z axis -> viewing ray
    deviation = np.array(ERRORS["translation_std_relative"]) * distance
    moved = place + turn.apply(deviation * rng.standard_normal((COUNT, 3)))
    tilt = np.deg2rad(ERRORS["rotation_std_deg"]) * rng.standard_normal((COUNT, 3))
    measured = Rotation.from_rotvec(turn.apply(tilt)) * truth

    head = SimpleNamespace(
        camera_T_face=make_transform(truth.as_matrix(), place),
        covariance=covariances(place[None], ERRORS)[0],
    )
    tracked: Any = SimpleNamespace(head=head)
    heads = StampedHeads(Header(frame_id="camera"), [tracked])
    message = pose_with_covariance_stamped(heads.header, tracked, heads.face_poses[0])
    published = np.array(message.pose.covariance).reshape(6, 6)
    # What a reader does: the error about the fixed axes of the header's frame, x, then y, then z.
    q = message.pose.pose.orientation
    error = measured * Rotation.from_quat([q.x, q.y, q.z, q.w]).inv()
    p = message.pose.pose.position
    samples = np.concatenate([moved - [p.x, p.y, p.z], error.as_euler("xyz")], axis=1)
    simulated = np.cov(samples.T)
    scale = np.sqrt(np.outer(np.diag(published), np.diag(published)))
    np.testing.assert_allclose(simulated / scale, published / scale, atol=0.03)
