"""BIWI and its boxes against data written in the original format, from heads that are known."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import (
    BIWI_INTRINSICS,
    face,
    heads,
    write_biwi,
)
from spots import brightest_near, lonely

from trg_ros.crop import box_from_landmarks68
from trg_ros.datasets.biwi import BIWI
from trg_ros.datasets.boxes import detect_boxes, move_into_image, read_boxes, write_boxes
from trg_ros.detection import Detections
from trg_ros.errors import DatasetError


def test_biwi_poses_come_back_in_the_colour_camera(tmp_path: Path) -> None:
    truths = heads(3, seed=7)
    write_biwi(tmp_path, truths)
    dataset = BIWI(tmp_path, boxes="mesh")
    mean, _ = face()
    assert len(dataset) == 3 and dataset.without_box == 0
    for sample, truth in zip(dataset, truths, strict=True):
        np.testing.assert_allclose(sample.camera_T_head, truth.camera_T_head, atol=1e-8)
        np.testing.assert_allclose(sample.camera.K, BIWI_INTRINSICS)
        np.testing.assert_allclose(sample.mesh_head, mean, atol=1e-9)
        assert (
            not sample.has_3d
            and sample.has_pose
            and (sample.camera.width, sample.camera.height) == (640, 480)
        )


def test_biwi_picture_shows_the_head_where_the_pose_says(tmp_path: Path) -> None:
    write_biwi(tmp_path, heads(2, seed=8, near=0.4, far=0.5))
    _, topology = face()
    for sample in BIWI(tmp_path, boxes="mesh"):
        points = sample.mesh_head @ sample.camera_T_head[:3, :3].T + sample.camera_T_head[:3, 3]
        pixels = sample.camera.project(points[topology.landmarks68])
        for point in pixels[lonely(pixels, 14)]:
            np.testing.assert_allclose(brightest_near(sample.load_image(), point), point, atol=0.1)


def test_biwi_boxes_from_a_table_and_from_the_release(tmp_path: Path) -> None:
    root = tmp_path / "hpdb"
    write_biwi(root, heads(3, seed=9))
    names = [f"01/frame_{index:05d}_rgb.png" for index in (3, 4, 5)]
    write_boxes(root / "boxes.csv", {names[0]: [-20, 30, 100, 150], names[2]: [550, 400, 670, 520]})
    dataset = BIWI(tmp_path)
    assert [sample.name for sample in dataset] == [names[0], names[2]] and dataset.without_box == 1
    np.testing.assert_allclose(dataset[0].box, [0, 30, 120, 150])
    np.testing.assert_allclose(dataset[1].box, [519, 359, 639, 479])

    points = np.random.default_rng(1).uniform(200, 300, (68, 3)).astype(np.float32)
    mesh = {"01": {"vertices": _Foreign(np.zeros((4, 3))), "faces": [1]}}
    release = {"img_path": names, "mesh": mesh, "pred_kpt": {names[1]: points}}
    (tmp_path / "annot.pkl").write_bytes(pickle.dumps(release))
    dataset = BIWI(tmp_path, tmp_path / "annot.pkl")
    assert [sample.name for sample in dataset] == [names[1]]
    np.testing.assert_allclose(dataset[0].box, box_from_landmarks68(points[:, :2], truncate=True))


class _Foreign:
    """Stands for the mesh library's classes in the release's pickle; loading one would be a bug."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __setstate__(self, state: dict) -> None:
        raise AssertionError("a foreign class was loaded from a pickle")


def test_biwi_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(?s)no frames.*rgb\.cal"):
        BIWI(tmp_path)
    write_biwi(tmp_path, heads(1))
    with pytest.raises(DatasetError, match=r"there are no boxes.*--detect-boxes"):
        BIWI(tmp_path)
    (tmp_path / "boxes.csv").write_text("image,left,top,right,bottom\na.png,1,2,x,4\n")
    with pytest.raises(DatasetError, match="can't read the boxes"):
        BIWI(tmp_path)
    write_boxes(tmp_path / "boxes.csv", {"a.png": [1, 2, 3, 4]})
    with pytest.raises(DatasetError, match="none of the frames"):
        BIWI(tmp_path)
    dataset = BIWI(tmp_path, boxes="mesh")
    pose = next(tmp_path.rglob("*_pose.txt"))
    pose.write_text("1 0 0\n0 1 0\n")
    with pytest.raises(DatasetError, match="has 6 numbers, expected 12"):
        dataset[0]
    pose.write_text("1 0 0\n0 2 0\n0 0 1\n\n0 0 800\n")
    with pytest.raises(DatasetError, match="not a rotation"):
        dataset[0]


def test_boxes_are_moved_not_cut() -> None:
    np.testing.assert_allclose(move_into_image([-10, 5, 90, 105], 200, 200), [0, 5, 100, 105])
    np.testing.assert_allclose(move_into_image([150, 150, 250, 250], 200, 200), [99, 99, 199, 199])
    np.testing.assert_allclose(move_into_image([20, 20, 60, 60], 200, 200), [20, 20, 60, 60])
    # Larger than the picture: right and bottom have the last word.
    np.testing.assert_allclose(move_into_image([-10, 0, 290, 300], 200, 200), [-101, -101, 199, 199])


def test_boxes_by_a_detector(tmp_path: Path) -> None:
    class TwoFaces:
        def detect(self, image_bgr: np.ndarray) -> Detections:
            return Detections(np.array([[0, 0, 10, 10], [5, 5, 45, 45]], np.float32), np.ones(2, np.float32))

        def trg_boxes(self, detections: Detections) -> np.ndarray:
            return detections.boxes

    write_biwi(tmp_path, heads(1))
    boxes = detect_boxes(BIWI(tmp_path, boxes="mesh"), TwoFaces())
    write_boxes(tmp_path / "boxes.csv", boxes)
    np.testing.assert_allclose(read_boxes(tmp_path / "boxes.csv")["01/frame_00003_rgb.png"], [5, 5, 45, 45])
