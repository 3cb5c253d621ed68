"""The loaders against data sets written in the original formats from heads that are known."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_fixtures import (
    BIWI_INTRINSICS,
    face,
    heads,
    opengl_pixels,
    write_300wlp,
    write_arkitface,
    write_assets,
    write_biwi,
    write_rendered,
)

from trg_ros.crop import box_from_landmarks68
from trg_ros.datasets.arkitface import ARKitFace, camera_from_projection
from trg_ros.datasets.biwi import BIWI
from trg_ros.datasets.boxes import detect_boxes, move_into_image, read_boxes, write_boxes
from trg_ros.datasets.concat import ConcatDataset
from trg_ros.datasets.rendered import RenderedHeads
from trg_ros.datasets.sample import Sample, evenly
from trg_ros.datasets.w300lp import W300LP
from trg_ros.detection import Detections
from trg_ros.errors import DatasetError, InputError


def brightest_near(image: np.ndarray, point: np.ndarray, reach: int = 3) -> np.ndarray:
    """Centre (2,) of the spot at a predicted position, by its centroid above half its height."""
    u, v = np.round(point).astype(int)
    window = image[v - reach : v + reach + 1, u - reach : u + reach + 1, 0].astype(float)
    weight = np.clip(window - 40, 0, None) ** 2
    rows, columns = np.mgrid[v - reach : v + reach + 1, u - reach : u + reach + 1]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def lonely(points: np.ndarray, distance: float) -> np.ndarray:
    """Which of the points (N, 2) have no other within a distance."""
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    return gaps.min(axis=1) > distance


def test_arkitface_poses_come_back(tmp_path: Path) -> None:
    truths = heads(4)
    write_arkitface(tmp_path, truths, size=(320, 240))
    dataset = ARKitFace(tmp_path)
    assert len(dataset) == 4
    for sample, truth in zip(dataset, truths, strict=True):
        np.testing.assert_allclose(sample.camera_T_head, truth.camera_T_head, atol=1e-5)
        np.testing.assert_allclose(sample.landmarks_head, truth.landmarks_head, atol=1e-7)
        assert sample.has_3d and np.linalg.det(sample.camera_T_head[:3, :3]) == pytest.approx(1)
    assert [sample.sequence for sample in dataset] == ["100", "100", "101", "101"]


def test_arkitface_camera_agrees_with_opengl(tmp_path: Path) -> None:
    """fx is not fy in a picture that is not square; both ways to a pixel must meet."""
    truths = heads(3, seed=2)
    write_arkitface(tmp_path, truths, size=(320, 240))
    _, topology = face()
    for sample in ARKitFace(tmp_path):
        info = (
            str(tmp_path / sample.name)
            .replace("image_test/image", "info_test/info")
            .replace("_ar.jpg", "_info.npz")
        )
        with np.load(info) as labels:
            expected = opengl_pixels(labels["verts"], labels["R_t"], 320, 240)
        np.testing.assert_allclose(sample.camera.project(sample.landmarks_camera), expected, atol=1e-3)
        np.testing.assert_allclose(sample.landmarks68_image, expected[topology.landmarks68], atol=1e-3)
        assert sample.camera.fx / sample.camera.fy == pytest.approx(320 / 240)
        np.testing.assert_array_equal(
            sample.box, box_from_landmarks68(sample.landmarks68_image, truncate=True)
        )


def test_arkitface_picture_shows_the_landmarks(tmp_path: Path) -> None:
    write_arkitface(tmp_path, heads(2, seed=4, near=0.3, far=0.35), size=(640, 640))
    for sample in ARKitFace(tmp_path):
        image, points = sample.load_image(), sample.landmarks68_image
        for point in points[lonely(points, 14)]:
            np.testing.assert_allclose(brightest_near(image, point), point, atol=0.1)


def test_arkitface_off_centre_projection() -> None:
    """The third row of the matrix moves the principal point; checked against OpenGL's own arithmetic."""
    projection = np.array([[1.5, 0, 0, 0], [0, 2.0, 0, 0], [0.1, -0.2, -1, -1], [0, 0, -0.002, 0]])
    camera = camera_from_projection(projection, 400, 300)
    point = np.array([0.05, -0.03, 0.6])
    clip = np.array([point[0], -point[1], -point[2], 1.0]) @ projection
    expected = [(clip[0] / clip[3] + 1) * 200, 300 - (clip[1] / clip[3] + 1) * 150]
    np.testing.assert_allclose(camera.project(point), expected, atol=1e-9)


def test_arkitface_splits_and_assets_elsewhere(tmp_path: Path) -> None:
    write_arkitface(tmp_path / "data", heads(3), split="train")
    write_assets(tmp_path / "assets", flip=False)
    assert ARKitFace(tmp_path / "data", "train").topology.flip is not None
    assert ARKitFace(tmp_path / "data", "train", tmp_path / "assets").topology.flip is None
    ring = np.roll(np.arange(1220), 1)
    np.save(tmp_path / "assets" / "flip_index.npy", ring)
    dataset = ARKitFace(tmp_path / "data", "train", tmp_path / "assets")
    assert dataset.topology.flip is None, "a checkpoint's flip swaps in pairs"
    np.testing.assert_array_equal(dataset[:1].flip, ring)
    np.save(tmp_path / "assets" / "flip_index.npy", ring[:100])
    with pytest.raises(DatasetError, match="expected 1220 vertex numbers"):
        ARKitFace(tmp_path / "data", "train", tmp_path / "assets")
    with pytest.raises(InputError, match="splits train and test, not 'all'"):
        ARKitFace(tmp_path / "data", "all")


def test_arkitface_reads_the_real_side_files(tmp_path: Path, shared_dir: Path) -> None:
    write_arkitface(tmp_path, heads(1))
    dataset = ARKitFace(tmp_path, assets=shared_dir / "trg_release")
    assert len(dataset.topology.triangles) == 2304 and len(dataset.topology.sampled) == 305
    assert dataset[0].camera.fx == pytest.approx(1.57443701 * 160)


def test_arkitface_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"(?s)projection_matrix.*expected layout of ARKitFace.*_info\.npz"
    ):
        ARKitFace(tmp_path)
    write_arkitface(tmp_path, heads(2))
    dataset = ARKitFace(tmp_path)
    info = next(tmp_path.rglob("*00000_info.npz"))
    with np.load(info) as archive:
        good = {name: archive[name] for name in archive.files}
    behind, sheared = good["R_t"].copy(), good["R_t"].copy()
    behind[3, 2] *= -1
    sheared[0, 3] = 0.1
    broken = {
        "has shape": {**good, "verts": good["verts"][:100]},
        "NaN": {**good, "verts": good["verts"] * np.nan},
        "no array 'R_t'": {"verts": good["verts"]},
        "not a rotation": {**good, "R_t": 2 * good["R_t"]},
        "behind the camera": {**good, "R_t": behind},
        "last column": {**good, "R_t": sheared},
    }
    for message, arrays in broken.items():
        np.savez(info, **arrays)
        with pytest.raises(DatasetError, match=message) as caught:
            dataset[0]
        assert info.name in str(caught.value), message
    info.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DatasetError, match="can't read"):
        dataset[0]
    next(tmp_path.rglob("*00001_ar.jpg")).unlink()
    with pytest.raises(DatasetError, match=r"_ar\.jpg: No such file"):
        dataset[1]
    next(tmp_path.rglob("*.csv")).write_text("subject,action\n1,2\n")
    with pytest.raises(DatasetError, match="no column 'subject_id'"):
        ARKitFace(tmp_path)


def test_picture_of_another_size_is_noticed(tmp_path: Path) -> None:
    write_arkitface(tmp_path, heads(1))
    sample = ARKitFace(tmp_path)[0]
    cv2.imwrite(str(tmp_path / sample.name), np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(DatasetError, match="60x50 px, its labels are for 320x320"):
        sample.load_image()


def test_biwi_poses_come_back_in_the_colour_camera(tmp_path: Path) -> None:
    truths = heads(3, seed=7)
    write_biwi(tmp_path, truths)
    dataset = BIWI(tmp_path, boxes="mesh")
    mean, topology = face()
    assert len(dataset) == 3 and dataset.without_box == 0
    for sample, truth in zip(dataset, truths, strict=True):
        np.testing.assert_allclose(sample.camera_T_head, truth.camera_T_head, atol=1e-8)
        np.testing.assert_allclose(sample.camera.K, BIWI_INTRINSICS)
        np.testing.assert_allclose(sample.mesh_head, mean, atol=1e-9)
        np.testing.assert_array_equal(sample.mesh_triangles, topology.triangles)
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


def test_300wlp_landmarks_of_originals_and_mirror_images(tmp_path: Path) -> None:
    truth = write_300wlp(tmp_path)
    dataset = W300LP(tmp_path)
    assert len(dataset) == 6
    for sample in dataset:
        expected = truth[sample.name.removesuffix(".jpg")]
        np.testing.assert_allclose(sample.landmarks68_image, expected)
        assert not sample.has_pose and not sample.has_3d and sample.sequence in ("AFW", "AFW_Flip")
        assert sample.camera.fx == 5000 and (sample.camera.cx, sample.camera.cy) == (225, 225)
        free = lonely(expected, 14)
        for point in expected[free]:
            np.testing.assert_allclose(brightest_near(sample.load_image(), point), point, atol=0.15)


def test_300wlp_falls_back_to_the_pictures_own_landmarks(tmp_path: Path) -> None:
    truth = write_300wlp(tmp_path)
    (tmp_path / "landmarks").rename(tmp_path / "elsewhere")
    sample = W300LP(tmp_path)[0]
    np.testing.assert_allclose(sample.landmarks68_image, truth[sample.name.removesuffix(".jpg")])
    (tmp_path / sample.name.replace(".jpg", ".mat")).write_bytes(b"MATLAB?")
    with pytest.raises(DatasetError, match=r"(?s)can't read .*AFW_1000_1_0\.mat.*expected layout of 300W-LP"):
        W300LP(tmp_path)[0]


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


def test_rendered_heads_are_pictures_of_a_camera(tmp_path: Path) -> None:
    write_rendered(tmp_path, 4)
    dataset = RenderedHeads(tmp_path)
    for sample in dataset:
        expected = box_from_landmarks68(sample.landmarks68_image)
        np.testing.assert_allclose(sample.box, expected, atol=1e-3)
        image, points = sample.load_image(), sample.landmarks68_image
        assert image.shape == (96, 96, 3)
        for point in points[lonely(points, 9)]:
            np.testing.assert_allclose(brightest_near(image, point, 2), point, atol=0.1)
    with pytest.raises(DatasetError, match="no rendered shards"):
        RenderedHeads(tmp_path / "shard_00000000")


def test_concat_draws_in_the_paper_s_proportion_or_by_shares(tmp_path: Path) -> None:
    write_arkitface(tmp_path / "a", heads(5), split="train")
    write_300wlp(tmp_path / "w", 1)
    one, other = ARKitFace(tmp_path / "a", "train"), W300LP(tmp_path / "w")
    both = ConcatDataset([one, other])
    assert len(both) == 7 and both[4].has_3d and not both[5].has_3d and both[-1].name == other[1].name
    assert both.topology is one.topology
    drawn = both.draw(np.random.default_rng(0), 7000)
    np.testing.assert_allclose(np.bincount(drawn, minlength=7) / 1000, 1, atol=0.12)
    drawn = ConcatDataset([one, other], [1, 1]).draw(np.random.default_rng(0), 6000)
    assert (drawn >= 5).mean() == pytest.approx(0.5, abs=0.03)
    with pytest.raises(InputError, match="shares"):
        ConcatDataset([one, other], [1, -1])
    write_rendered(tmp_path / "r", 1)
    with pytest.raises(InputError, match="different dense landmarks"):
        ConcatDataset([one, RenderedHeads(tmp_path / "r")])


def test_sequence_behaviour(tmp_path: Path) -> None:
    write_300wlp(tmp_path, 3)
    dataset = W300LP(tmp_path)
    assert [sample.name for sample in dataset[1:3]] == [dataset[1].name, dataset[2].name]
    assert len(evenly(dataset, 3)) == 3 and evenly(dataset, 3)[0].name == dataset[0].name
    assert len(evenly(dataset, 100)) == 6
    assert isinstance(dataset[-1], Sample) and dataset[-1].name == dataset[5].name
    with pytest.raises(IndexError):
        dataset[6]
