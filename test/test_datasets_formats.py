"""300W-LP, rendered heads, and several data sets as one, against data whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import (
    heads,
    write_300wlp,
    write_arkitface,
    write_rendered,
)
from spots import brightest_near, lonely

from trg_ros.crop import box_from_landmarks68
from trg_ros.datasets.arkitface import ARKitFace
from trg_ros.datasets.concat import ConcatDataset
from trg_ros.datasets.rendered import RenderedHeads
from trg_ros.datasets.sample import Sample, evenly
from trg_ros.datasets.w300lp import W300LP
from trg_ros.errors import DatasetError, InputError


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
