"""Our network, and the estimator around it, say what the published one says, with weights in its format."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, load_checkpoint
from trg_ros.errors import InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.geometry import geodesic_distance
from trg_ros.model.network import TRG, TRGOutput, project_to_crop
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.release_import import import_release

LENGTH_TOLERANCE = 1e-5  # 0.01 mm
ANGLE_TOLERANCE = np.radians(1e-3)


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> dict[str, np.ndarray]:
    path = shared_dir / "parity" / "golden_seed1.npz"
    if not path.is_file():
        pytest.skip(f"no golden outputs at {path}")
    return dict(np.load(path))


@pytest.fixture(scope="module")
def checkpoint(
    shared_dir: Path, golden: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    folder = tmp_path_factory.mktemp("release")
    maker = runpy.run_path(str(shared_dir / "parity" / "make_release_checkpoint.py"))
    torch.save(maker["release_state_dict"](int(golden["seed"])), folder / "state_dict.bin")
    path = import_release(
        folder / "state_dict.bin", shared_dir / "trg_release", folder / "release.safetensors"
    )
    return load_checkpoint(path)


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> TRG:
    return checkpoint.build_model()


@pytest.fixture(scope="module")
def estimator(checkpoint: Checkpoint) -> HeadPoseEstimator:
    return HeadPoseEstimator.load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def inputs(golden: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops and normalised boxes; the image centre is the release's principal point."""
    left, top, right, bottom = golden["boxes_ltrb"].T
    height, width = golden["image_hw"].T
    box = np.stack([(left + right - width) / 2, (top + bottom - height) / 2, right - left], axis=1)
    box = (box / golden["focal"][:, None]).astype(np.float32)
    return normalise_crops(torch.from_numpy(golden["crops_rgb"])), torch.from_numpy(box)


def check_iteration(
    output: TRGOutput, golden: dict[str, np.ndarray], iteration: int, rows: list[int]
) -> None:
    for name in ("landmarks_head", "landmarks_camera"):
        expected = golden[f"{name}_{iteration}"][rows]
        np.testing.assert_allclose(getattr(output, name).numpy(), expected, atol=LENGTH_TOLERANCE, rtol=0)
    pose = torch.from_numpy(golden[f"pose_{iteration}"][rows])
    torch.testing.assert_close(output.translation, pose[:, :3, 3], atol=LENGTH_TOLERANCE, rtol=0)
    angle = geodesic_distance(output.rotation.double(), pose[:, :3, :3].double())
    assert angle.max() < ANGLE_TOLERANCE
    state = torch.cat([output.rotation_6d, output.correction], dim=1).numpy()
    np.testing.assert_allclose(state, golden[f"rot6d_correction_{iteration}"][rows], atol=1e-5)


@pytest.mark.parametrize("rows", [[0], [1, 3], [2, 0, 1], [0, 1, 2, 3], [3, 2, 1, 0, 3]], ids=len)
def test_all_iterations_agree_for_every_batch_size(
    golden: dict[str, np.ndarray], model: TRG, inputs: tuple[torch.Tensor, torch.Tensor], rows: list[int]
) -> None:
    crops, box = inputs
    with torch.inference_mode():
        outputs = model(crops[rows], box[rows], landmarks68=True)
    assert len(outputs) == 3
    for iteration, output in enumerate(outputs, start=1):
        check_iteration(output, golden, iteration, rows)
    for iteration in (2, 3):
        sampled = outputs[iteration - 2].landmarks_camera[:, model.sampled]
        pixels = (project_to_crop(sampled, box[rows]).numpy() + 1) / 2 * 192
        expected = golden[f"sampling_points_crop_{iteration}"][rows]
        np.testing.assert_allclose(pixels, expected, atol=2e-3)
    landmarks68 = outputs[-1].landmarks68_crop.numpy()
    np.testing.assert_allclose(landmarks68, golden["landmarks68_crop_norm"][rows], atol=1e-5)


def test_imported_weights_state_their_origin_and_conventions(checkpoint: Checkpoint) -> None:
    assert (len(checkpoint.topology.triangles), checkpoint.topology.sellion) == (2304, 15)
    assert checkpoint.info.name == "TRG-Release"
    assert len(checkpoint.info.provenance) == 5
    assert "face anchor" in checkpoint.info.origin_convention


def test_sellion_of_the_release_lies_between_the_eyes(checkpoint: Checkpoint) -> None:
    """Guards index and axis conventions: y towards the chin, z into the head."""
    face = checkpoint.state_dict["initial_landmarks"].numpy()
    points = face[checkpoint.topology.landmarks68]
    sellion = face[checkpoint.topology.sellion]
    eyes = points[36:48].mean(axis=0)
    nose_tip, chin, person_right_eye, person_left_eye = points[30], points[8], points[36:42], points[42:48]
    assert np.linalg.norm(sellion - eyes) < 0.03
    assert person_right_eye[:, 0].max() < sellion[0] < person_left_eye[:, 0].min()
    assert sellion[1] < nose_tip[1] < chin[1]
    assert nose_tip[2] == points[:, 2].min()


@pytest.mark.parametrize("rows", [[0], [1, 3], [2, 0, 1], [0, 1, 2, 3], [3, 2, 1, 0, 3]], ids=len)
def test_crops_give_what_the_published_network_gives(
    estimator: HeadPoseEstimator, golden: dict[str, np.ndarray], rows: list[int]
) -> None:
    cameras = [
        CameraModel.pinhole(focal, focal, width / 2, height / 2, int(width), int(height))
        for focal, (height, width) in zip(golden["focal"][rows], golden["image_hw"][rows], strict=True)
    ]
    heads = estimator.estimate_crops(golden["crops_rgb"][rows], golden["boxes_ltrb"][rows], cameras)
    for head, camera, row in zip(heads, cameras, rows, strict=True):
        np.testing.assert_allclose(
            head.landmarks_head, golden["landmarks_head_3"][row], atol=LENGTH_TOLERANCE, rtol=0
        )
        np.testing.assert_allclose(
            head.landmarks_camera, golden["landmarks_camera_3"][row], atol=LENGTH_TOLERANCE, rtol=0
        )
        np.testing.assert_allclose(
            head.translation, golden["pose_3"][row][:3, 3], atol=LENGTH_TOLERANCE, rtol=0
        )
        assert geodesic_distance(head.rotation, golden["pose_3"][row][:3, :3].astype(float)) < ANGLE_TOLERANCE
        np.testing.assert_allclose(head.box, golden["boxes_ltrb"][row], atol=1e-6)
        np.testing.assert_allclose(head.landmarks_image, camera.project(head.landmarks_camera))


def test_one_camera_for_all_crops(estimator: HeadPoseEstimator, golden: dict[str, np.ndarray]) -> None:
    camera = CameraModel.pinhole(700, 700, 320, 240, 640, 480)
    crops, boxes = golden["crops_rgb"][:2], golden["boxes_ltrb"][:2]
    for one, other in zip(
        estimator.estimate_crops(crops, boxes, camera),
        estimator.estimate_crops(crops, boxes, [camera, camera]),
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
def test_crops_that_dont_fit(
    estimator: HeadPoseEstimator, crops: tuple[int, ...], boxes: int, cameras: int, message: str
) -> None:
    camera = CameraModel.pinhole(600, 600, 330, 230, 640, 480)
    with pytest.raises(InputError, match=message):
        estimator.estimate_crops(
            np.zeros(crops, np.uint8),
            np.tile([10.0, 10, 90, 90], (boxes, 1)),
            camera if cameras == 1 else [camera] * cameras,
        )
