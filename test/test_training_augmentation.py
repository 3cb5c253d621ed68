"""Labels follow the augmentation: on the picture, in the head's frame, along its ray."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="training needs the extra [train]")

from rendered_samples import MARGIN, fake_samples

from trg_ros.geometry import geodesic_distance
from trg_ros.synthetic.augmentation import AugmentationConfig, Augmenter, TrainingBatch
from trg_ros.synthetic.dataset import RenderedSamples
from trg_ros.synthetic.landmark_set import default_landmark_set


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("settled", [0.0, 1.0])
@pytest.mark.parametrize("size", [32, 96])
def test_labels_lie_on_the_picture_after_turn_flip_and_jitter(
    mirrored: bool, settled: float, size: int
) -> None:
    images, labels = fake_samples(12, 3)
    samples = RenderedSamples(images=images, margin=MARGIN, **labels)
    config = AugmentationConfig(
        photometric=0,
        flip_probability=float(mirrored),
        roll_probability=0,
        wide_roll_probability=1,
        settled_probability=settled,
    )
    chosen = default_landmark_set()
    black = np.zeros((1, 64, 64, 3), np.uint8)
    batch = Augmenter(size, chosen.flip, chosen.landmarks68, black, config)(samples, np.random.default_rng(4))
    points = batch.landmarks_head[:, chosen.landmarks68] @ batch.rotation.transpose(0, 2, 1)
    points += batch.translation[:, None]
    plane = points[..., :2] / points[..., 2:]
    pixels = ((plane - batch.box[:, None, :2]) / batch.box[:, None, 2:] + 0.5) * (size - 1)
    inside = (pixels > 2).all(-1) & (pixels < size - 3).all(-1)
    for crop, marks, use in zip(batch.crops, pixels, inside, strict=True):
        x, y = np.rint(marks[use]).astype(int).T
        assert use.mean() > 0.5
        assert crop[y, x].mean() > 150 > crop.mean() + 30
    determinants = np.linalg.det(batch.rotation)
    np.testing.assert_allclose(determinants, 1, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "scale", "reach"), [("settled_probability", 0.85, 0.05), ("tracked_probability", 1.0, 0.1)]
)
def test_a_later_look_faces_the_head_and_stands_upright_with_it(
    kind: str, scale: float, reach: float
) -> None:
    images, labels = fake_samples(12, 3)
    samples = RenderedSamples(images=images, margin=MARGIN, **labels)
    config = AugmentationConfig(settled_roll_sigma_degrees=0.0, **{kind: 1.0})
    chosen = default_landmark_set()
    black = np.zeros((1, 64, 64, 3), np.uint8)

    def made(scale: float) -> TrainingBatch:
        augmenter = Augmenter(32, chosen.flip, chosen.landmarks68, black, config, settled_scale=scale)
        return augmenter(samples, np.random.default_rng(4))

    batch = made(1.0)
    np.testing.assert_allclose(made(0.85).box[:, 2], scale * batch.box[:, 2], rtol=1e-6)
    off = np.abs(batch.box[:, :2] / batch.box[:, 2:]).max()
    assert 0.5 * reach < off < reach
    assert np.abs(batch.rotation[:, 0, 1]).max() < 0.02 and batch.rotation[:, 1, 1].min() > 0
    np.testing.assert_allclose(
        np.linalg.norm(batch.translation, axis=1), np.linalg.norm(labels["translation"], axis=1), rtol=1e-5
    )


def test_a_wrong_focal_length_leaves_heads_as_they_stand_to_their_ray() -> None:
    images, labels = fake_samples(12, 3)
    samples = RenderedSamples(images=images, margin=MARGIN, **labels)
    chosen = default_landmark_set()
    black = np.zeros((1, 64, 64, 3), np.uint8)

    def made(probability: float) -> TrainingBatch:
        config = AugmentationConfig(photometric=0, focal_error_probability=probability)
        augmenter = Augmenter(32, chosen.flip, chosen.landmarks68, black, config)
        return augmenter(samples, np.random.default_rng(4))

    def seen(batch: TrainingBatch) -> np.ndarray:
        return np.einsum("nij,ni->nj", batch.rotation, batch.translation / batch.translation[:, 2:])

    right, wrong = made(0.0), made(1.0)
    factor = right.translation[:, 2] / wrong.translation[:, 2]
    assert factor.min() < 0.95 and factor.max() > 1.3
    np.testing.assert_array_equal(wrong.crops, right.crops)
    np.testing.assert_allclose(wrong.box, right.box * factor[:, None], rtol=1e-4)
    np.testing.assert_allclose(wrong.translation[:, :2], right.translation[:, :2])
    rays = [seen(batch) / np.linalg.norm(seen(batch), axis=1, keepdims=True) for batch in (right, wrong)]
    np.testing.assert_allclose(rays[1], rays[0], atol=1e-4)


def test_flipping_twice_is_nothing() -> None:
    images, labels = fake_samples(3, 5)
    chosen = default_landmark_set()
    config = AugmentationConfig(
        photometric=0, flip_probability=1, roll_probability=0, wide_roll_probability=0
    )
    augmenter = Augmenter(32, chosen.flip, chosen.landmarks68, np.zeros((1, 64, 64, 3), np.uint8), config)
    once = augmenter(RenderedSamples(images=images, margin=MARGIN, **labels), np.random.default_rng(0))
    names = ("rotation", "translation", "landmarks_head", "box")
    again = RenderedSamples(images=images, margin=MARGIN, **{name: getattr(once, name) for name in names})
    twice = augmenter(again, np.random.default_rng(0))
    assert np.asarray(geodesic_distance(twice.rotation, labels["rotation"])).max() < 1e-3
    np.testing.assert_allclose(twice.landmarks_head, labels["landmarks_head"], atol=1e-6)
    np.testing.assert_allclose(twice.translation, labels["translation"], atol=1e-6)
