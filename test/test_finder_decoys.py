"""Things that are no faces, for the finder's training."""

import numpy as np
import pytest

from trg_ros.finder.training.decoys import decoys

TEXTURES = [np.full((40, 40, 3), value, np.uint8) for value in (30, 200)]


@pytest.fixture(scope="module")
def pictures():
    return decoys(12, TEXTURES, seed=1)


def test_they_are_premultiplied_and_neither_empty_nor_full(pictures):
    for picture in pictures:
        assert picture.shape == (112, 112, 4) and picture.dtype == np.uint8
        colour, cover = picture[..., :3].astype(int).max(axis=2), picture[..., 3].astype(int)
        assert (colour <= cover + 1).all()
        assert 0.05 < (cover > 128).mean() < 0.98
        assert colour[cover > 128].std() > 2  # light and shade, not one flat colour


def test_they_are_what_their_seed_says(pictures):
    for one, other in zip(pictures[:6], decoys(6, TEXTURES, seed=1), strict=True):
        np.testing.assert_array_equal(one, other)
    other = decoys(2, TEXTURES, seed=2)
    assert not any(np.array_equal(pictures[k], other[k]) for k in range(2))
