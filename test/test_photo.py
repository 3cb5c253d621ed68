"""A real photo and the packaged weights: what must follow exactly when the photo or its camera is changed.

The photo is NASA's portrait of Eileen Collins. No ground truth is needed: turning the photo turns the head,
halving it doubles the distance, turning the camera turns the pose, and moving the principal point moves the
ray but not the head in it.
"""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from trg_ros.camera import CameraModel
from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint
from trg_ros.crop import box_from_landmarks68
from trg_ros.errors import TrgRosError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.geometry import euler_yxz_degrees, geodesic_distance, shortest_turn
from trg_ros.tracking import HeadTracker

FOCAL = 600.0
CENTER = 255.5
# What a moved principal point may leave in the ray's frame: degrees, share of the distance. Further from the
# axis the same pixels are a face that is stretched, and how large that one is nobody knows exactly.
RAY_DEG, RAY_SIZE = 2.0, 0.05
CAMERA = CameraModel.pinhole(FOCAL, FOCAL, CENTER, CENTER, 512, 512)


@pytest.fixture(scope="module")
def estimator(astronaut_bgr):
    """The packaged weights, if they claim to be good enough for these bounds."""
    try:
        checkpoint = load_checkpoint(default_checkpoint_path())
        loaded = HeadPoseEstimator.load(checkpoint, device="cpu", detector="libfacedetection")
    except TrgRosError as error:
        pytest.skip(str(error))
    claimed = checkpoint.info.measured_errors.get("geodesic_mean_deg", np.inf)
    if claimed > 8.0:
        pytest.skip(f"{checkpoint.info.name} claims {claimed} degrees on rendered heads: a sketch of weights")
    return loaded


@pytest.fixture(scope="module")
def head(estimator, astronaut_bgr):
    return only(estimator.estimate(astronaut_bgr, CAMERA))


def only(heads):
    assert len(heads) == 1
    return heads[0]


def test_she_looks_at_us(head):
    yaw, pitch, roll = euler_yxz_degrees(head.rotation)
    assert abs(yaw) < 15 and abs(pitch) < 20 and abs(roll) < 15
    assert head.score > 0.6
    assert 0.6 < head.translation[2] < 1.4, "a face of 0.14 m, 85 px wide, at 600 px focal length"
    left, top, right, bottom = box_from_landmarks68(head.landmarks68_image)
    assert 150 < left < 175 and 45 < top < 85 and 275 < right < 300 and 175 < bottom < 215


@pytest.mark.parametrize("degrees", [-60, -45, -30, -15, 15, 30, 45, 60])
def test_turning_the_photo_turns_the_head(estimator, head, astronaut_bgr, degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned_photo = cv2.warpAffine(
        astronaut_bgr, cv2.getRotationMatrix2D((CENTER, CENTER), -degrees, 1), (512, 512)
    )
    turned = only(estimator.estimate(turned_photo, CAMERA))
    assert np.rad2deg(geodesic_distance(turned.rotation, turn @ head.rotation)) < 3
    assert np.linalg.norm(turned.translation - turn @ head.translation) < 0.05 * np.linalg.norm(
        head.translation
    )


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("degrees", [-20, 20])
def test_turning_the_camera_turns_the_pose(estimator, head, astronaut_bgr, axis, degrees):
    """What a camera at the same place sees that looks elsewhere is a homography of the picture."""
    turn, size = Rotation.from_euler(axis, degrees, degrees=True).as_matrix(), 900
    camera = CameraModel.pinhole(FOCAL, FOCAL, (size - 1) / 2, (size - 1) / 2, size, size)
    view = cv2.warpPerspective(
        astronaut_bgr, camera.K @ turn @ np.linalg.inv(CAMERA.K), (size, size), flags=cv2.INTER_CUBIC
    )
    seen = only(estimator.estimate(view, camera))
    assert np.rad2deg(geodesic_distance(seen.rotation, turn @ head.rotation)) < 3
    off = np.linalg.norm(seen.translation - turn @ head.translation)
    assert off < 0.03 * np.linalg.norm(head.translation)


def test_half_the_size_is_twice_the_distance(estimator, head, astronaut_bgr):
    small = cv2.resize(astronaut_bgr, (256, 256), interpolation=cv2.INTER_AREA)
    camera = CameraModel.pinhole(FOCAL, FOCAL, 127.5, 127.5, 256, 256)
    far = only(estimator.estimate(small, camera))
    assert far.translation[2] / head.translation[2] == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("shift", [(100, 0), (-100, 0), (0, 100), (0, -100)])
def test_moving_the_principal_point_moves_the_ray_only(estimator, head, astronaut_bgr, shift):
    camera = CameraModel.pinhole(FOCAL, FOCAL, CENTER + shift[0], CENTER + shift[1], 512, 512)
    moved = only(estimator.estimate(astronaut_bgr, camera))
    (rotation, size), (rotation_moved, size_moved) = in_ray_frame(head), in_ray_frame(moved)
    assert np.rad2deg(geodesic_distance(rotation, rotation_moved)) < RAY_DEG
    assert size_moved == pytest.approx(size, rel=RAY_SIZE)


def in_ray_frame(head):
    """Rotation of the head in axes whose z is the ray to the face; distance, less what the ray does to it.

    The same pixels further from the optical axis cover a smaller solid angle, as the cube of the cosine, and
    a smaller solid angle is a greater distance: as its square root.
    """
    origin = head.camera_T_face[:3, 3]
    distance = np.linalg.norm(origin)
    cosine = origin[2] / distance
    return shortest_turn(origin[None] / distance)[0].T @ head.rotation, distance * cosine**1.5


def test_detector_box_calibration(estimator, head, astronaut_bgr):
    """The box that the detector's stands for is the one that the landmarks then ask for."""
    detections = estimator.detect(astronaut_bgr)
    box = estimator.detector.trg_boxes(detections)[0]
    asked = box_from_landmarks68(head.landmarks68_image)
    side = asked[2] - asked[0]
    assert np.abs((box[:2] + box[2:]) / 2 - (asked[:2] + asked[2:]) / 2).max() < 0.12 * side
    assert (box[2] - box[0]) / side == pytest.approx(1, abs=0.2)


def test_following_a_still_photo_stays(estimator, head, astronaut_bgr):
    """Frame after frame, with the boxes coming from the network alone, nothing drifts."""
    tracker = HeadTracker(estimator, detection_interval=1000)
    for frame in range(40):
        tracked = only(tracker.update(astronaut_bgr, CAMERA, frame / 30))
    side = head.box[2] - head.box[0]
    assert np.abs(tracked.head.box - head.box).max() < 0.12 * side
    assert np.rad2deg(geodesic_distance(tracked.head.rotation, head.rotation)) < 4


def test_wrong_focal_length_scales_the_distance(estimator, head, astronaut_bgr):
    camera = CameraModel.pinhole(2 * FOCAL, 2 * FOCAL, CENTER, CENTER, 512, 512)
    far = only(estimator.estimate(astronaut_bgr, camera))
    assert far.translation[2] / head.translation[2] == pytest.approx(2, rel=0.08)
