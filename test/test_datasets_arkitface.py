"""ARKitFace against data written the way of its authors, from heads that are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_fixtures import (
    face,
    heads,
    opengl_pixels,
    write_arkitface,
    write_assets,
)
from spots import brightest_near, lonely

from trg_ros.crop import box_from_landmarks68
from trg_ros.datasets.arkitface import ARKitFace, camera_from_projection
from trg_ros.datasets.symmetry import mirror_index
from trg_ros.errors import DatasetError, InputError
from trg_ros.plain_pickle import read_pickle_entry


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
    next(tmp_path.rglob("*.csv")).write_text("subject_id,facial_action,img_id\n1,smile,7\n1,smi")
    with pytest.raises(DatasetError, match="line 3 is incomplete"):
        ARKitFace(tmp_path)


def test_picture_of_another_size_is_noticed(tmp_path: Path) -> None:
    write_arkitface(tmp_path, heads(1))
    sample = ARKitFace(tmp_path)[0]
    cv2.imwrite(str(tmp_path / sample.name), np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(DatasetError, match="60x50 px, its labels are for 320x320"):
        sample.load_image()


@pytest.mark.parametrize("uneven_m", [0.0, 0.005, 0.01])
def test_mirror_index_of_an_uneven_face(uneven_m: float) -> None:
    """A face whose halves differ by up to a centimetre, smoothly, and whose middle is not at x = 0."""
    mean, topology = face()
    phases = np.stack([14 * mean[:, 1] + 1, 11 * mean[:, 0] + 0.5, 9 * mean[:, 0] + 8 * mean[:, 1]], axis=1)
    uneven = mean + uneven_m * np.sin(phases) + (0.03, 0.0, 0.0)
    np.testing.assert_array_equal(mirror_index(uneven, topology.landmarks68), topology.flip)


def test_mirror_index_of_no_face() -> None:
    _, topology = face()
    noise = np.random.default_rng(0).normal(size=(1220, 3))
    with pytest.raises(InputError, match="no partner in the mirror"):
        mirror_index(noise, topology.landmarks68)
    with pytest.raises(InputError, match="don't span a face"):
        mirror_index(noise, np.zeros(68, np.int64))


def test_mirror_index_of_arkit_s_mesh(shared_dir: Path) -> None:
    """Holes and outline are mirrored onto themselves; 46 vertices are on the midline."""
    assets = shared_dir / "trg_release"
    initial = read_pickle_entry((assets / "init_vtx_cam.pkl").read_bytes(), "t_vtx_1220")
    points = np.asarray(initial, np.float64).reshape(-1, 3)
    flip = mirror_index(points, np.load(assets / "kpt_ind.npy").reshape(-1))
    assert (flip == np.arange(1220)).sum() == 46
    triangles = np.load(assets / "triangles.npy").astype(np.int64)
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    found, times = np.unique(edges, axis=0, return_counts=True)
    border = found[times == 1]
    mirrored = np.unique(np.sort(flip[border], axis=1), axis=0)
    np.testing.assert_array_equal(mirrored, border)


def test_arkitface_finds_a_mirror_index_in_its_faces(tmp_path: Path, caplog) -> None:
    write_arkitface(tmp_path, heads(3), split="train")
    (tmp_path / "npy" / "flip_index.npy").unlink()
    dataset = ARKitFace(tmp_path, "train")
    np.testing.assert_array_equal(dataset.flip, face()[1].flip)
    np.testing.assert_array_equal(dataset[:1].flip, dataset.flip)
    for info in tmp_path.rglob("*_info.npz"):
        with np.load(info) as labels:
            noise = np.random.default_rng(0).normal(size=(1220, 3))
            np.savez(info, verts=noise, R_t=labels["R_t"])
    assert ARKitFace(tmp_path, "train").flip is None and "not mirrored" in caplog.text
