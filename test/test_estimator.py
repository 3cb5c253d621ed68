"""The estimator: geometry against a known world, parity with the published network, devices, bad input."""

import dataclasses
import logging
import runpy

import numpy as np
import pytest
import torch
from discs import LANDMARKS, DiscBackend, DiscDetector, box_of, checkpoint, draw

from trg_ros import backends
from trg_ros.backends import make_backend, resolve_device
from trg_ros.backends.torch_backend import TorchBackend
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo
from trg_ros.crop import CropWindows
from trg_ros.errors import CheckpointError, DetectorError, DeviceError, InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.geometry import HEAD_R_FACE, geodesic_distance
from trg_ros.heads import covariances
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.model.topology import Topology
from trg_ros.release_import import import_release

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


def test_each_window_is_looked_at_as_often_as_it_asks_for(estimator):
    camera = CAMERAS["none"]
    image, boxes = draw(camera, CENTERS), np.stack([box_of(camera, center) for center in CENTERS])
    windows = CropWindows.from_boxes(camera, boxes)
    once = estimator.estimate_windows(image, camera, windows, np.array([0, 0]))
    mixed = estimator.estimate_windows(image, camera, windows, np.array([0, 2]))
    assert estimator._backend.batches == [2, 2, 1, 1]
    np.testing.assert_array_equal(mixed.result.translation[0], once.result.translation[0])
    assert (mixed.windows.center[1] != once.windows.center[1]).all()


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


# Parity with the published network


@pytest.fixture(scope="module")
def golden(shared_dir):
    return dict(np.load(shared_dir / "parity" / "golden_seed1.npz"))


@pytest.fixture(scope="module")
def release(shared_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    maker = runpy.run_path(str(shared_dir / "parity" / "make_release_checkpoint.py"))
    torch.save(maker["release_state_dict"](1), folder / "state_dict.bin")
    path = import_release(
        folder / "state_dict.bin", shared_dir / "trg_release", folder / "release.safetensors"
    )
    return HeadPoseEstimator.load(path, device="cpu")


@pytest.mark.parametrize("rows", [[0], [1, 3], [2, 0, 1], [0, 1, 2, 3], [3, 2, 1, 0, 3]], ids=len)
def test_crops_give_what_the_published_network_gives(release, golden, rows):
    cameras = [
        CameraModel.pinhole(focal, focal, width / 2, height / 2, int(width), int(height))
        for focal, (height, width) in zip(golden["focal"][rows], golden["image_hw"][rows], strict=True)
    ]
    heads = release.estimate_crops(golden["crops_rgb"][rows], golden["boxes_ltrb"][rows], cameras)
    for head, camera, row in zip(heads, cameras, rows, strict=True):
        np.testing.assert_allclose(head.landmarks_head, golden["landmarks_head_3"][row], atol=1e-5, rtol=0)
        np.testing.assert_allclose(
            head.landmarks_camera, golden["landmarks_camera_3"][row], atol=1e-5, rtol=0
        )
        np.testing.assert_allclose(head.translation, golden["pose_3"][row][:3, 3], atol=1e-5, rtol=0)
        assert geodesic_distance(head.rotation, golden["pose_3"][row][:3, :3].astype(float)) < np.radians(
            1e-3
        )
        np.testing.assert_allclose(head.box, golden["boxes_ltrb"][row], atol=1e-6)
        np.testing.assert_allclose(head.landmarks_image, camera.project(head.landmarks_camera))


def test_one_camera_for_all_crops(release, golden):
    camera = CameraModel.pinhole(700, 700, 320, 240, 640, 480)
    crops, boxes = golden["crops_rgb"][:2], golden["boxes_ltrb"][:2]
    for one, other in zip(
        release.estimate_crops(crops, boxes, camera),
        release.estimate_crops(crops, boxes, [camera, camera]),
        strict=True,
    ):
        np.testing.assert_array_equal(one.camera_T_head, other.camera_T_head)


@pytest.mark.parametrize(
    ("crops", "boxes", "cameras", "message"),
    [
        ((1, 64, 64, 3), 1, 1, r"expected uint8 \(N, 192, 192, 3\)"),
        ((192, 192, 3), 1, 1, "expected uint8"),
        ((2, 192, 192, 3), 1, 1, "2 crops, 1 boxes"),
        ((2, 192, 192, 3), 2, 3, "2 boxes and 3 cameras"),
    ],
)
def test_crops_that_dont_fit(release, crops, boxes, cameras, message):
    camera = CAMERAS["none"]
    with pytest.raises(InputError, match=message):
        release.estimate_crops(
            np.zeros(crops, np.uint8),
            np.tile([10.0, 10, 90, 90], (boxes, 1)),
            camera if cameras == 1 else [camera] * cameras,
        )


# Torch


@pytest.fixture(scope="module")
def small():
    """A small network with lively batch normalisation."""
    torch.manual_seed(0)
    config = TRGConfig(
        input_size=64,
        stem="compact",
        backbone_widths=(8, 12, 16),
        backbone_blocks=(1, 1, 1),
        deconv_widths=(8, 8, 8),
        point_feature_widths=(8, 4, 3),
        num_landmarks=80,
        num_sampled=20,
        grid_size=5,
        hidden_width=32,
    )
    topology = Topology(np.array([[0, 1, 2]]), np.arange(20), np.arange(68))
    model = TRG(config, topology)
    model.set_initial_state(torch.randn(80, 3) * 0.07)
    for name, value in model.state_dict().items():
        if "running_mean" in name or name.endswith("norm.bias"):
            value.normal_(0, 0.3)
        elif "running_var" in name or name.endswith("norm.weight"):
            value.uniform_(0.5, 1.5)
    return Checkpoint(config, topology, CheckpointInfo(name="small"), model.state_dict())


def test_backend_computes_what_the_model_does(small):
    crops = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    box = np.array([[0.1, 0.0, 0.3], [0.0, -0.1, 0.2]], np.float32)
    with torch.inference_mode():
        normalised = normalise_crops(torch.from_numpy(crops))
        expected = small.build_model()(normalised, torch.from_numpy(box), landmarks68=True)[-1]
    result = make_backend(small, "cpu").infer(crops, box)
    for name in ("landmarks_head", "rotation", "translation", "landmarks68_crop"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), atol=1e-5, rtol=1e-4)


def test_real_network_end_to_end(small, astronaut_bgr):
    """A photo through the whole real path; what an untrained network says is finite and nothing else."""
    estimator = HeadPoseEstimator.load(small, device="cpu", detector=None)
    head = estimator.estimate(
        astronaut_bgr, CameraModel.from_fov(60, 512, 512), [[120.0, 40.0, 320.0, 240.0]]
    )[0]
    assert head.landmarks_camera.shape == (80, 3) and head.covariance.shape == (6, 6)
    assert np.isfinite(head.camera_T_face).all() and 0 <= head.score <= 1
    assert head.landmarks68_image.shape == (68, 2)


def test_threads_are_only_set_when_asked(small):
    before = torch.get_num_threads()
    try:
        make_backend(small, "cpu", "torch")
        assert torch.get_num_threads() == before
        make_backend(small, "cpu", "torch", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(InputError, match="threads is 0"):
        make_backend(small, "cpu", threads=0)


def test_auto_falls_back_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO, logger=backends.__name__):
        assert resolve_device("auto") == "cpu"
    assert "the CPU" in caplog.text


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_an_error(monkeypatch, small, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=f"'{device}' was asked for.*sees no CUDA GPU.*use device 'cpu'"):
        HeadPoseEstimator.load(small, device=device)


@pytest.mark.parametrize("device", ["gpu", "tpu", "", "mps", "cuda:x"])
def test_unknown_devices(device):
    with pytest.raises(DeviceError, match="use auto, cpu, cuda"):
        resolve_device(device)


def test_unknown_backend(small):
    with pytest.raises(InputError, match="'tensorrt' is unknown: use auto, torch, openvino"):
        HeadPoseEstimator.load(small, device="cpu", backend="tensorrt")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_agrees_with_cpu(small):
    crops = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    boxes = np.array([[0.1, 0.0, 0.3]] * 3, np.float32)
    on_cpu = TorchBackend(small, torch.device("cpu")).infer(crops, boxes)
    on_gpu = TorchBackend(small, torch.device("cuda:0")).infer(crops, boxes)
    np.testing.assert_allclose(on_gpu.translation, on_cpu.translation, atol=1e-3)


# Bad input

GOOD = np.zeros((480, 640, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image is a NoneType"),
        ("photo.png", "image is a str"),
        (np.zeros((480, 640), np.uint8), r"uint8 \(480, 640\)"),
        (np.zeros((480, 640, 4), np.uint8), r"uint8 \(480, 640, 4\)"),
        (np.zeros((480, 640, 3), np.uint16), "uint16"),
        (np.zeros((480, 640, 3), np.float32), "float32"),
        (np.zeros((0, 0, 3), np.uint8), "image is empty"),
        (np.zeros((240, 320, 3), np.uint8), "image is 320x240 but the camera is calibrated for 640x480"),
    ],
)
def test_bad_images(estimator, image, message):
    with pytest.raises(InputError, match=message):
        estimator.estimate(image, CAMERAS["none"])
    assert estimator.forward_passes == 0


def test_one_pixel_image(estimator):
    camera = CameraModel.pinhole(1, 1, 0, 0, 1, 1)
    assert estimator.estimate(np.zeros((1, 1, 3), np.uint8), camera) == []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[10, 10, float("nan"), 50]], "box 0 is .*: it must be finite"),
        ([[10, 10, float("inf"), 50]], "it must be finite"),
        ([[10, 10, 60, 60], [10, 10, 10, 50]], "box 1 is .*: right must exceed left"),
        ([[50, 50, 20, 20]], "right must exceed left"),
        ([10, 10, 50, 50], r"shape \(4,\): expected \(N, 4\)"),
        ([[10, 10, 50]], r"shape \(1, 3\)"),
        ([["a", "b", "c", "d"]], "not numbers"),
    ],
)
def test_bad_boxes(estimator, boxes, message):
    with pytest.raises(InputError, match=message):
        estimator.estimate(GOOD, CAMERAS["none"], boxes)


def test_box_where_the_lens_sees_nothing(estimator):
    folding = CameraModel.pinhole(600, 600, 320, 240, 640, 480, [-0.3, 0.0, 0.0, 0.0, 0.0])
    with pytest.raises(InputError, match="sees nothing there"):
        estimator.estimate(GOOD, folding, [[5000, 5000, 5100, 5100]])


def test_other_bad_arguments(estimator):
    with pytest.raises(InputError, match="camera is a ndarray"):
        estimator.estimate(GOOD, np.eye(3))
    with pytest.raises(InputError, match="expected 1 finite numbers"):
        estimator.estimate(GOOD, CAMERAS["none"], [[0, 0, 9, 9]], scores=[0.1, 0.2])


def test_without_a_detector_boxes_are_needed():
    estimator = HeadPoseEstimator(checkpoint(), DiscBackend(), detector=None)
    with pytest.raises(DetectorError, match="give boxes"):
        estimator.estimate(GOOD, CAMERAS["none"])
    with pytest.raises(DetectorError, match="'haar' is unknown"):
        HeadPoseEstimator(checkpoint(), DiscBackend(), detector="haar")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        HeadPoseEstimator.load(tmp_path / "none.safetensors", device="cpu")
