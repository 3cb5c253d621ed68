"""The estimator: geometry against a known world."""

import dataclasses
import json
import pickle
import re

import numpy as np
import pytest
from discs import LANDMARKS, DiscBackend, DiscDetector, box_of, checkpoint, draw
from scipy.spatial.transform import Rotation

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.geometry import HEAD_R_FACE, geodesic_distance, head_T_face
from trg_ros.heads import covariances

CAMERAS = {
    "none": CameraModel.pinhole(600, 600, 330, 230, 640, 480),
    "anisotropic": CameraModel.pinhole(600, 450, 310, 250, 640, 480),
    "plumb_bob": CameraModel.pinhole(600, 610, 310, 250, 640, 480, [-0.3, 0.1, 0.002, -0.001, 0.0]),
    "equidistant": CameraModel.pinhole(
        280, 280, 320, 240, 640, 480, [0.05, -0.01, 0.003, -0.0005], "equidistant"
    ),
}
CENTERS = np.array([[-0.15, 0.05, 0.9], [0.2, -0.1, 0.7]])


@pytest.fixture
def estimator():
    return HeadPoseEstimator(checkpoint(), DiscBackend(), DiscDetector())


@pytest.mark.parametrize("name", CAMERAS)
def test_heads_are_where_they_are(name, estimator):
    """Whatever the lens, detector, crop and second look lead to the metric position, and back to pixels."""
    camera = CAMERAS[name]
    heads = estimator.estimate(draw(camera, CENTERS, [180, 230]), camera)
    assert len(heads) == 2
    for head, center in zip(heads, CENTERS[::-1], strict=True):
        assert np.linalg.norm(head.translation - center) < 0.015 * np.linalg.norm(center)
        np.testing.assert_allclose(head.landmarks_image, camera.project(head.landmarks_camera))
        np.testing.assert_allclose(head.landmarks68_image, head.landmarks_image[:68])
        np.testing.assert_allclose(
            head.landmarks_camera, LANDMARKS @ head.rotation.T + head.translation, atol=1e-6
        )
        middle = 0.5 * (head.box[:2] + head.box[2:])
        assert np.abs(middle - camera.project(center)).max() < 4
    assert estimator._backend.batches == [2, 2, 2], "one batch, and two to look again"
    assert estimator.forward_passes == 3


def test_the_network_gets_red_first(estimator, monkeypatch):
    crops, infer = [], estimator._backend.infer

    def noted(crops_rgb, boxes):
        crops.append(crops_rgb)
        return infer(crops_rgb, boxes)

    monkeypatch.setattr(estimator._backend, "infer", noted)
    image_bgr = np.full((480, 640, 3), (30, 60, 90), np.uint8)
    estimator.estimate(image_bgr, CAMERAS["none"], [[200, 100, 300, 200]], mirror=False, refine=0)
    assert (crops[0] == (90, 60, 30)).all()


def test_each_window_is_looked_at_as_often_as_it_asks_for(estimator):
    camera = CAMERAS["none"]
    image, boxes = draw(camera, CENTERS), np.stack([box_of(camera, center) for center in CENTERS])
    windows = CropWindows.from_boxes(camera, boxes)
    once = estimator.estimate_windows(image, camera, windows, np.array([0, 0]))
    mixed = estimator.estimate_windows(image, camera, windows, np.array([0, 2]))
    assert estimator._backend.batches == [2, 2, 1, 1]
    np.testing.assert_array_equal(mixed.result.translation[0], once.result.translation[0])
    assert (mixed.windows.center[1] != once.windows.center[1]).all()


@pytest.mark.parametrize("scale", [1.0, 0.85])
def test_second_looks_are_closer(scale):
    """What the network asks for stays TRG's box."""
    camera = CAMERAS["none"]
    estimator = HeadPoseEstimator(checkpoint(second_look_scale=scale), DiscBackend(), DiscDetector())
    image, boxes = draw(camera, CENTERS), np.stack([box_of(camera, center) for center in CENTERS])
    windows = CropWindows.from_boxes(camera, boxes)
    first = estimator.estimate_windows(image, camera, windows, np.array([0, 0]))
    np.testing.assert_array_equal(first.windows.size, windows.size)
    second = estimator.estimate_windows(image, camera, windows, np.array([1, 1]))
    np.testing.assert_allclose(second.windows.size, scale * windows.size, rtol=0.05)
    np.testing.assert_allclose(second.implied.size, windows.size, rtol=0.05)
    places = np.einsum("nij,nj->ni", second.windows.camera_R_virtual, second.result.translation)
    np.testing.assert_allclose(places, CENTERS, rtol=0.05, atol=0.01)


def test_fisheye_far_off_the_axis(estimator):
    """At 50 degrees off the axis the virtual camera turns; the pose comes back in the camera's frame."""
    camera = CAMERAS["equidistant"]
    center = 0.8 * np.array([np.sin(np.deg2rad(50)), 0.1, np.cos(np.deg2rad(50))])
    head = estimator.estimate(draw(camera, [center]), camera)[0]
    assert np.linalg.norm(head.translation - center) < 0.02
    outward = head.rotation @ [0, 0, 1]
    assert np.degrees(np.arccos(outward @ center / np.linalg.norm(center))) < 2, (
        "turned with the virtual camera"
    )
    assert geodesic_distance(head.rotation, np.eye(3)) > np.radians(48)


@pytest.mark.parametrize(
    ("angles", "out_of_the_face", "up"),
    [
        ((30, 0, 0), (-0.5, 0, -0.866), (0, -1, 0)),  # the image's left
        ((0, 30, 0), (0, 0.5, -0.866), (0, -0.866, -0.5)),  # down
        ((0, 0, 30), (0, 0, -1), (0.5, -0.866, 0)),  # leaning to the image's right
    ],
    ids=["yaw", "pitch", "roll"],
)
def test_angles_turn_the_face_as_they_say(estimator, angles, out_of_the_face, up):
    (head, *_) = estimator.estimate(draw(CAMERAS["none"], CENTERS), CAMERAS["none"])
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("yxz", angles, degrees=True).as_matrix()
    turned = dataclasses.replace(head, camera_T_head=turn, camera_T_face=turn @ head_T_face(np.zeros(3)))
    np.testing.assert_allclose(turned.yaw_pitch_roll_deg, angles, atol=1e-9)
    np.testing.assert_allclose(turned.camera_T_face[:3, 0], out_of_the_face, atol=1e-3)
    np.testing.assert_allclose(turned.camera_T_face[:3, 2], up, atol=1e-3)


def test_a_head_prints_in_a_line_and_goes_to_json(estimator):
    (head, *_) = estimator.estimate(draw(CAMERAS["none"], CENTERS[:1]), CAMERAS["none"])
    assert re.fullmatch(
        r"HeadPose\(x=-0\.\d+, y=0\.\d+, z=0\.\d+ m, yaw=.*, roll=.* deg, score=[01]\.\d\d\)", repr(head)
    )
    record = json.loads(json.dumps(head.to_dict()))
    assert record["position_m"] == pytest.approx(head.position, abs=1e-6)
    assert record["distance_m"] == pytest.approx(np.linalg.norm(head.position), abs=1e-6)
    assert np.shape(record["landmarks68"]) == (68, 2)
    np.testing.assert_allclose(
        Rotation.from_quat(record["quaternion_xyzw"]).as_matrix(), head.camera_T_face[:3, :3], atol=1e-6
    )


def test_heads_can_be_sent_to_other_processes(estimator):
    (head, *_) = estimator.estimate(draw(CAMERAS["plumb_bob"], CENTERS), CAMERAS["plumb_bob"])
    again = pickle.loads(pickle.dumps(head))
    assert again.camera == head.camera and again.to_dict() == head.to_dict()
    np.testing.assert_array_equal(again.landmarks_camera, head.landmarks_camera)


def test_frames_agree(estimator):
    head = estimator.estimate(draw(CAMERAS["none"], CENTERS[:1]), CAMERAS["none"])[0]
    np.testing.assert_allclose(head.camera_T_head[3], [0, 0, 0, 1])
    np.testing.assert_allclose(head.camera_T_face[:3, :3], head.rotation @ HEAD_R_FACE, atol=1e-12)
    np.testing.assert_allclose(head.camera_T_face[:3, 3], head.landmarks_camera[27], atol=1e-6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        head.score = 1.0


def test_batch_order_and_given_boxes(estimator):
    """Boxes from outside keep their order, and each head is what it is alone."""
    camera = CAMERAS["plumb_bob"]
    image = draw(camera, CENTERS)
    boxes = np.array([box_of(camera, center) for center in CENTERS]) + [[5, -4, 5, -4]]
    both = estimator.estimate(image, camera, boxes, scores=[0.4, 0.7])
    for index in (0, 1):
        alone = estimator.estimate(image, camera, boxes[index : index + 1])[0]
        np.testing.assert_allclose(both[index].camera_T_head, alone.camera_T_head)
        np.testing.assert_allclose(both[index].box, alone.box)
    assert [round(head.score, 6) for head in both] == [0.4, 0.7]
    assert estimator.estimate(image, camera, np.zeros((0, 4))) == []
    assert estimator.estimate(image, camera, []) == []


def test_second_look_centres_the_crop(estimator):
    camera = CAMERAS["none"]
    expected = box_of(camera, CENTERS[0])
    rough = expected + np.array([15, 12, 15, 12])
    image = draw(camera, CENTERS)
    first = estimator.estimate(image, camera, [rough], refine=0)[0]
    second = estimator.estimate(image, camera, [rough], refine=1)[0]
    np.testing.assert_allclose(first.box, rough, atol=1e-6)
    assert np.abs(second.box - expected).max() < 2 < np.abs(first.box - expected).max()


def test_the_2d_head_says_where_to_look_next(estimator):
    """Dense landmarks that stay behind, as those of a weak network do, don't lead the crop off the face."""
    camera = CAMERAS["none"]
    expected = box_of(camera, CENTERS[0])
    image = draw(camera, CENTERS)
    see = estimator._backend.infer

    def lagging(crops, boxes):
        result = see(crops, boxes)
        middle = np.concatenate([boxes[:, :2], np.ones((len(boxes), 1))], axis=1) * result.translation[:, 2:]
        return dataclasses.replace(result, translation=(0.2 * result.translation + 0.8 * middle).astype("f4"))

    estimator._backend.infer = lagging
    head = estimator.estimate(image, camera, [expected + np.array([20, 15, 20, 15])], refine=1)[0]
    assert np.abs(head.box - expected).max() < 2


def test_score_tells_a_face_from_none(estimator):
    camera = CAMERAS["none"]
    image = draw(camera, CENTERS)
    face, nothing = estimator.estimate(image, camera, [box_of(camera, CENTERS[0]), [20, 350, 120, 450]])
    assert face.score > 0.9
    assert nothing.score < 0.1


def test_checkpoints_say_how_far_apart_is_usual(estimator):
    """The same disagreement means less in a checkpoint whose opinions are further apart anyway."""
    camera = CAMERAS["none"]
    image, boxes = draw(camera, []), [[20.0, 350, 120, 450]]
    strict = estimator.estimate(image, camera, boxes)[0].score
    estimator.checkpoint.info.measured_errors["landmarks68_disagreement"] = 0.2
    lenient = estimator.estimate(image, camera, boxes)[0].score
    assert strict < 0.1 and lenient > 0.8


def test_no_face_no_head(estimator):
    assert estimator.estimate(draw(CAMERAS["none"], []), CAMERAS["none"]) == []
    assert estimator.forward_passes == 0


def test_half_outside_and_tiny(estimator):
    """A face half outside the image, and one of 20 pixels, still get a pose near the truth."""
    camera = CAMERAS["none"]
    edge = np.array([-0.9 * 330 / 600 - 0.01, 0.0, 0.9])
    far = np.array([0.1, 0.1, 4.8])
    image = draw(camera, [edge, far])
    heads = estimator.estimate(image, camera, [box_of(camera, edge), box_of(camera, far)], refine=0)
    assert np.isfinite(heads[0].camera_T_face).all()
    assert np.linalg.norm(heads[1].translation - far) < 0.05 * 4.8


def test_covariance_is_positive_and_along_the_ray():
    origin = np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 1.0]])
    measured = {"translation_std_relative": [0.01, 0.02, 0.05], "rotation_std_deg": [3.0, 4.0, 2.0]}
    ahead, aside = covariances(origin, measured)
    np.testing.assert_allclose(np.sqrt(np.diag(ahead)), [0.02, 0.04, 0.1, *np.deg2rad([3, 4, 2])])
    for matrix in (ahead, aside):
        np.testing.assert_allclose(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix).min() > 0
    ray = np.array([1, 0, 1]) / np.sqrt(2)
    assert ray @ aside[:3, :3] @ ray == pytest.approx((0.05 * np.sqrt(2)) ** 2)
    assert np.linalg.eigvalsh(covariances(origin, {})[0]).min() > 0
