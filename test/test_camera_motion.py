"""How the camera turned, seen in its images: against known rotations of a textured world."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from discs import DiscBackend, DiscDetector, checkpoint, draw

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.tracking import HeadTracker
from trg_ros.tracking.camera_motion import CameraMotion

CAMERA = CameraModel.pinhole(250, 250, 159.5, 119.5, 320, 240)
FISHEYE = CameraModel.pinhole(
    140, 140, 165, 115, 320, 240, [0.03, -0.01, 0.004, -0.001], distortion_model="equidistant"
)


def rotation(pan_deg, tilt_deg=0.0, roll_deg=0.0):
    return cv2.Rodrigues(np.deg2rad([tilt_deg, pan_deg, roll_deg]))[0]


def world(seed=1):
    """(900, 1800, 3) uint8 by elevation and azimuth: spots of all sizes from 1 to 16 degrees."""
    rng, layers = np.random.default_rng(seed), []
    for spots in (16, 64, 180):
        coarse = rng.uniform(0, 80, (spots, 2 * spots, 3)).astype(np.float32)
        layers.append(cv2.resize(coarse, (1800, 900), interpolation=cv2.INTER_CUBIC))
    return np.clip(sum(layers), 0, 255).astype(np.uint8)


WORLD = world()


def view(camera, camera_R_world):
    """(H, W, 3) uint8 of the world far away."""
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    x, y, z = np.moveaxis(camera.rays(pixels.astype(float)) @ camera_R_world, -1, 0)
    places = np.rad2deg([np.arctan2(x, z) + np.pi, np.arctan2(y, np.hypot(x, z)) + np.pi / 2]) * 5
    return cv2.remap(WORLD, *places.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def with_people(image, camera, places):
    """The image with discs on dark bodies, and the windows of these heads."""
    places = np.asarray(places, float)
    boxes = np.concatenate(
        [camera.project(places - [0.1, 0.1, 0]), camera.project(places + [0.1, 0.1, 0])], 1
    )
    people = draw(camera, places)
    for (left, _, right, bottom), shade in zip(boxes.round().astype(int), (30, 40, 50), strict=False):
        image[max(bottom, 0) :, max(left - 15, 0) : max(right + 15, 0)] = shade
        image[max(bottom + 10, 0) : max(bottom + 30, 0) : 4, max(left, 0) : max(right, 0) : 4] = 255
    drawn = (people != 20).any(axis=-1)
    image[drawn] = people[drawn]
    return image, CropWindows.from_boxes(camera, boxes)


def angle_deg(rotation):
    return np.rad2deg(np.linalg.norm(cv2.Rodrigues(rotation)[0]))


CIRCLE = CameraModel.pinhole(70, 70, 140, 130, 320, 240, [0.0, 0.0, 0.0, 0.0], distortion_model="equidistant")
BESIDE_THE_AXIS = CAMERA.scaled(2).with_roi(0, 20, 340, 440)


@pytest.mark.parametrize("camera", [CAMERA, FISHEYE, CAMERA.scaled(2), CIRCLE, BESIDE_THE_AXIS])
@pytest.mark.parametrize("turn", [(4, 0, 0), (-2, 1.5, 0), (0.3, -3, 0), (3, 1, 1.2), (-7, 0, 0)])
def test_a_turn_is_measured(camera, turn):
    start, now_R_before = rotation(20, -5), rotation(*turn)
    motion = CameraMotion()
    assert motion.turn(view(camera, start), camera, None) is None, "there is nothing to compare with"
    measured = motion.turn(view(camera, now_R_before @ start), camera, None)
    assert angle_deg(measured @ now_R_before.T) < 0.1


def test_a_camera_that_stands_still_does_so_whoever_moves():
    motion, here, people = CameraMotion(), view(CAMERA, np.eye(3)), None
    for frame in range(8):
        walked = np.array([0.05 * frame, 0.0, 0.0])
        image, now = with_people(here.copy(), CAMERA, [[-0.5, 0.0, 1.2] + walked, [0.1, 0.1, 0.9] + walked])
        assert motion.turn(image, CAMERA, people) is None
        people = now


def test_a_turn_is_measured_before_people_who_move_along():
    motion, step, people = CameraMotion(), rotation(2.0), None
    camera_R_world = np.eye(3)
    for frame in range(6):  # who walks beside a robot is always there in its images
        image, now = with_people(view(CAMERA, camera_R_world), CAMERA, [[-0.4, 0.0, 1.2], [0.1, 0.1, 0.9]])
        measured = motion.turn(image, CAMERA, people)
        assert frame == 0 or angle_deg(measured @ step.T) < 0.1
        camera_R_world, people = step @ camera_R_world, now


def test_nothing_is_read_into_images_that_say_nothing():
    rng = np.random.default_rng(0)
    blank = np.full((240, 320, 3), 120, np.uint8)
    noisy = [np.clip(blank + rng.normal(0, 6, blank.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    other = [view(CAMERA, rotation(90)), view(CAMERA, rotation(-90))]
    poster = [blank.copy(), blank.copy()]
    for image, left in zip(poster, (140, 150), strict=True):  # somebody who isn't known, before a wall
        image[75:, left : left + 50] = other[0][75:, 140:190]
    for pair in ([blank, blank], noisy, other, poster):
        motion = CameraMotion()
        assert [motion.turn(image, CAMERA, None) for image in pair] == [None, None]


def test_where_nobody_can_tell_a_camera_goes_on_turning_less_and_less():
    motion, turns = CameraMotion(), []
    blank = np.full((240, 320, 3), 120, np.uint8)
    for image in (view(CAMERA, np.eye(3)), view(CAMERA, rotation(4)), *[blank] * 30):
        turns.append(motion.turn(image, CAMERA, None))
    angles = [angle_deg(turn) for turn in turns[1:] if turn is not None]
    assert angles[0] == pytest.approx(4, abs=0.1)
    assert all(0.5 * one < other < one for one, other in pairwise(angles))
    assert turns[-1] is None


def test_only_images_of_one_camera_are_compared():
    motion, turned = CameraMotion(), rotation(3)
    motion.turn(view(CAMERA, np.eye(3)), CAMERA, None)
    assert motion.turn(view(FISHEYE, turned), FISHEYE, None) is None
    motion.turn(view(CAMERA, np.eye(3)), CAMERA, None)
    motion.forget()
    assert motion.turn(view(CAMERA, turned), CAMERA, None) is None


def test_a_pan_mixes_nobody_up():
    """Two are hidden while the camera turns so far that one comes back where the other one was, who is out of
    the image by then."""
    people = np.array([[-0.22, 0.0, 1.0], [0.18, 0.0, 1.0]])
    tracker = HeadTracker(HeadPoseEstimator(checkpoint(), DiscBackend(), DiscDetector()))
    known_as = [set(), set()]
    for frame in range(30):
        camera_R_world = rotation(-2.7 * min(max(frame - 8, 0), 8))  # to the right
        image = np.minimum(view(CAMERA, camera_R_world), 80)
        if not 8 <= frame < 17:
            drawn = draw(CAMERA, people @ camera_R_world.T)
            image[(drawn != 20).any(axis=-1)] = drawn[(drawn != 20).any(axis=-1)]
        for one in tracker.update(image, CAMERA, frame / 15):
            apart = np.linalg.norm(people - camera_R_world.T @ one.head.translation, axis=1)
            known_as[apart.argmin()].add(one.id)
    assert sorted(map(sorted, known_as)) == [[1], [2]]


def test_who_is_alone_is_followed_without_it(monkeypatch):
    def refuse(*_):
        raise AssertionError("measured for one")

    monkeypatch.setattr(CameraMotion, "turn", refuse)
    tracker = HeadTracker(HeadPoseEstimator(checkpoint(), DiscBackend(), DiscDetector()))
    for frame in range(4):
        assert len(tracker.update(draw(CAMERA, [[0.0, 0.0, 1.0]]), CAMERA, frame / 30)) == 1
