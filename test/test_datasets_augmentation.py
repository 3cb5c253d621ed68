"""Augmented labels against the augmented picture: spots must be where the moved labels say, to 0.1 px."""

from dataclasses import replace

import numpy as np
import pytest
from dataset_fixtures import blobs, heads, write_300wlp, write_arkitface
from spots import brightest_near, lonely

from trg_ros.camera import CameraModel
from trg_ros.datasets.arkitface import ARKitFace
from trg_ros.datasets.augmentation import (
    Recipe,
    TrainingSample,
    View,
    augment,
    draw_view,
    jitter_colour,
    view_sample,
)
from trg_ros.datasets.sample import Sample
from trg_ros.datasets.symmetry import FLIP68
from trg_ros.datasets.w300lp import W300LP
from trg_ros.errors import InputError
from trg_ros.geometry import transform_points

SIZE = 360
NO_AUGMENTATION = Recipe(0, 0, 0, 0, 0, (0, 0, 0, 0), 0)
VIEWS = {
    "as it is": View(),
    "rolled": View(roll_rad=0.5),
    "mirrored": View(mirrored=True),
    "jittered": View(shift=(0.1, -0.07), scale=1.05),
    "all": View(-0.4, True, (-0.1, 0.05), 0.96),
}
CAMERAS = {
    "square pixels": CameraModel.pinhole(900, 900, 410, 300, 800, 640),
    "oblong pixels": CameraModel.pinhole(900, 700, 380, 330, 800, 640),
    "distorted": CameraModel.pinhole(700, 710, 410, 330, 800, 640, [-0.25, 0.08, 0.002, -0.001, 0.0]),
}


def landmarks68_of_pose(result, landmarks68):
    """(68, 2) in [-1, 1] over the crop, by the 3D labels: equal to `landmarks68_crop`."""
    points = transform_points(result.camera_T_head, result.landmarks_head[landmarks68])
    return 2 * (points[:, :2] / points[:, 2:] - result.box[:2]) / result.box[2]


def spots_match(result: TrainingSample, least: int = 10) -> None:
    """Every spot that stands alone and inside the crop lies within 0.1 px of its label."""
    pixels = (result.landmarks68_crop + 1) / 2 * (SIZE - 1)
    clear = lonely(pixels, 15) & (pixels > 9).all(axis=1) & (pixels < SIZE - 10).all(axis=1)
    assert clear.sum() >= least, "the test needs spots to look at"
    for point in pixels[clear]:
        np.testing.assert_allclose(brightest_near(result.crop_rgb, point, 5), point, atol=0.1)


@pytest.fixture(scope="module")
def arkitface(tmp_path_factory):
    root = tmp_path_factory.mktemp("arkit")
    write_arkitface(root, heads(1, seed=21, near=0.35, far=0.4), size=(640, 480), sigma=1.6)
    return ARKitFace(root)


def spotted(camera: CameraModel, arkitface: ARKitFace) -> Sample:
    """A sample of another camera, with a picture drawn for it."""
    truth = heads(1, seed=30, near=0.4, far=0.45)[0]
    _, topology = truth, arkitface.topology
    points = (
        truth.landmarks_head[topology.landmarks68] @ truth.camera_T_head[:3, :3].T
        + truth.camera_T_head[:3, 3]
    )
    pixels = camera.project(points)
    image = blobs(pixels, camera.width, camera.height, 1.6)
    return Sample(
        "drawn", "one", camera, np.array([0.0, 0, 10, 10]), lambda: image,
        truth.camera_T_head, truth.landmarks_head, pixels,
    )  # fmt: skip


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_picture_follows_the_labels(camera, view, arkitface):
    result = view_sample(spotted(camera, arkitface), arkitface.flip, SIZE, view)
    spots_match(result)
    by_pose = landmarks68_of_pose(result, arkitface.topology.landmarks68)
    np.testing.assert_allclose(result.landmarks68_crop, by_pose, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(result.camera_T_head[:3, :3]), 1, atol=1e-9)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_arkitface_pictures_follow(view, arkitface):
    result = view_sample(arkitface[0], arkitface.flip, SIZE, view)
    spots_match(result)
    by_pose = landmarks68_of_pose(result, arkitface.topology.landmarks68)
    np.testing.assert_allclose(result.landmarks68_crop, by_pose, atol=1e-6)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_300wlp_pictures_follow(view, tmp_path):
    write_300wlp(tmp_path, 1, size=700)
    for sample in W300LP(tmp_path):
        result = view_sample(sample, None, SIZE, view)
        spots_match(result, 4)
        assert result.camera_T_head is None and result.landmarks_head is None


def test_box_is_the_release_s_without_augmentation(tmp_path):
    """But for the whole pixels that the release cuts its corners to."""
    write_arkitface(tmp_path, heads(1, seed=22))
    dataset = ARKitFace(tmp_path)
    sample = dataset[0]
    result = augment(sample, dataset.flip, SIZE, NO_AUGMENTATION, np.random.default_rng(0))
    half = np.array([-1, -1, 1, 1]) * result.box[2] / 2
    corners = (np.tile(result.box[:2], 2) + half) * sample.camera.fx + np.tile([160, 160], 2)
    assert (corners - sample.box >= 0).all() and (corners - sample.box < 1).all()
    assert np.ptp(result.landmarks68_crop, axis=0).max() == pytest.approx(2 / 1.5)


def test_mirroring_twice_is_nothing(arkitface):
    sample = arkitface[0]
    once = view_sample(sample, arkitface.flip, SIZE, View(mirrored=True))
    mirrored = replace(
        sample,
        camera_T_head=once.camera_T_head,
        landmarks_head=once.landmarks_head,
        landmarks68_image=sample.camera.project(
            np.c_[(once.box[:2] + once.landmarks68_crop * once.box[2] / 2), np.ones(68)]
        ),
    )
    twice = view_sample(mirrored, arkitface.flip, SIZE, View(mirrored=True))
    np.testing.assert_allclose(twice.camera_T_head, sample.camera_T_head, atol=1e-12)
    np.testing.assert_allclose(twice.landmarks_head, sample.landmarks_head, atol=1e-12)
    straight = view_sample(sample, arkitface.flip, SIZE, View())
    np.testing.assert_allclose(twice.landmarks68_crop, straight.landmarks68_crop, atol=1e-9)


def test_flip68_swaps_sides_and_nothing_else():
    assert (FLIP68[FLIP68] == np.arange(68)).all()
    assert np.flatnonzero(np.arange(68) == FLIP68).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    for one, other in (
        (0, 16),
        (17, 26),
        (36, 45),
        (39, 42),
        (41, 46),
        (48, 54),
        (60, 64),
        (67, 65),
        (59, 55),
    ):
        assert FLIP68[one] == other


def test_draws_are_the_recipe_s():
    rng = np.random.default_rng(1)
    views = [draw_view(Recipe(), rng, True) for _ in range(4000)]
    rolls = np.rad2deg([view.roll_rad for view in views])
    assert np.mean(rolls != 0) == pytest.approx(0.3, abs=0.03) and 29 < np.abs(rolls).max() <= 30
    assert np.mean([view.mirrored for view in views]) == pytest.approx(0.5, abs=0.03)
    # 15 % of the landmarks' extent is 10 % of the box, which is 1.5 times as large.
    assert 0.099 < np.abs([view.shift for view in views]).max() <= 0.1
    scales = [view.scale for view in views]
    assert 0.95 <= min(scales) < 0.951 and 1.049 < max(scales) <= 1.05
    assert not any(draw_view(Recipe(), rng, False).mirrored for _ in range(50))


def test_colours():
    rng = np.random.default_rng(2)
    image = rng.integers(30, 200, (32, 32, 3), np.uint8)
    same = jitter_colour(image, (0, 0, 0, 0), rng)
    assert np.abs(same.astype(int) - image).max() <= 1
    brighter = [jitter_colour(image, (0.3, 0, 0, 0), rng).mean() / image.mean() for _ in range(300)]
    assert 0.69 < min(brighter) < 0.75 and 1.2 < max(brighter) < 1.31
    grey = np.repeat(image[..., :1], 3, axis=2)
    coloured = jitter_colour(grey, (0, 0, 0.2, 0.01), rng)
    assert np.abs(coloured.astype(int) - grey).max() <= 1, "grey has neither saturation nor hue"


def test_patch_has_a_fifth_of_the_side(arkitface):
    recipe = replace(NO_AUGMENTATION, patch_probability=1.0)
    plain = augment(arkitface[0], arkitface.flip, 100, NO_AUGMENTATION, np.random.default_rng(3)).crop_rgb
    patched = augment(arkitface[0], arkitface.flip, 100, recipe, np.random.default_rng(3)).crop_rgb
    rows, columns = np.nonzero((plain.astype(int) != patched).any(axis=2))
    assert np.ptp(rows) == np.ptp(columns) == 19


def test_without_a_mirror_index_there_is_no_mirroring(arkitface):
    with pytest.raises(InputError, match="no mirror index"):
        view_sample(arkitface[0], None, SIZE, View(mirrored=True))
    always = replace(NO_AUGMENTATION, flip_probability=1.0)
    result = augment(arkitface[0], None, 64, always, np.random.default_rng(4))
    np.testing.assert_allclose(result.camera_T_head, arkitface[0].camera_T_head)
    with pytest.raises(InputError, match="no 68 landmarks"):
        view_sample(replace(arkitface[0], landmarks68_image=None), None, SIZE, View())
