"""The finder's further looks at what it found: close by, in the image's detail, mirrored, as is, grey."""

import numpy as np
import pytest

from trg_ros.finder.config import CHANNELS, HEAT, LOG_SIDE, STRIDE
from trg_ros.finder.decoding import heat_of
from trg_ros.finder.detector import TRGFinder, _close_by


@pytest.mark.parametrize("side", [9.0, 45.0, 90.0, 333.0])
@pytest.mark.parametrize("center", [(200.0, 150.0), (3.0, 290.0)])
def test_it_shows_the_box(side, center):
    """A blob at the box's eye is at the eye of the picture, at the right size."""
    center = np.array(center)
    spot = center + side * np.array([0.25, -0.2])
    y, x = np.mgrid[0:300, 0:400]
    blob = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (0.08 * side) ** 2))
    image = np.repeat((255 * blob)[..., None], 3, axis=2).astype(np.uint8)
    box = np.concatenate([center - side / 2, center + side / 2]).astype(np.float32)
    picture = _close_by(image, box)
    assert picture.shape == (1, 128, 128, 3)
    weight = picture[0, ..., 0].astype(float)
    rows, columns = np.mgrid[0:128, 0:128]
    found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(found, 63.5 + 90 * np.array([0.25, -0.2]), atol=2.5)


def test_boxes_beyond_the_image_are_black():
    image = np.full((60, 80, 3), 200, np.uint8)
    for box in ((300, 300, 340, 340), (-90, -90, -50, -50), (900, 900, 1300, 1300)):
        assert _close_by(image, np.array(box, np.float32)).max() == 0


def test_only_cells_that_mean_the_box_count():
    output = np.zeros((CHANNELS, 16, 16), np.float32)
    output[HEAT], output[LOG_SIDE] = -5, np.log(90 / STRIDE)
    output[HEAT, 8, 8], output[HEAT, 0, 0], output[HEAT, 8, 9] = 1.5, 4, 3
    output[LOG_SIDE, 8, 9] = np.log(20 / STRIDE)  # a smaller face in the middle
    box = np.array([19, 19, 109, 109], np.float32)
    assert heat_of(output, box) == pytest.approx(1.5)
    assert heat_of(output, box - 400) < -6


class _Opinions:
    """Stands for the network: heat (logit) of faces in the search, and of a further look by the colour in its
    middle."""

    def __init__(self, search, close):
        self._search, self._close = search, close
        self.looks = []

    def __call__(self, images):
        output = np.zeros((1, CHANNELS, images.shape[1] // STRIDE, images.shape[2] // STRIDE), np.float32)
        output[:, HEAT] = -9
        if images.shape[1] == 128:
            self.looks.append(images[0])
            output[0, LOG_SIDE, 8, 8] = np.log(90 / STRIDE)
            output[0, HEAT, 8, 8] = self._close(images[0])
        else:
            output[0, LOG_SIDE] = np.log(5)
            for column, heat in self._search.items():
                output[0, HEAT, 5, column] = heat
        return output


def _finder(monkeypatch, search, close):
    finder = TRGFinder()
    opinions = _Opinions(search, close)
    monkeypatch.setattr(finder, "_run", opinions)
    return finder, opinions


def _score(*logits):
    return pytest.approx(1 / (1 + np.exp(-np.mean(logits))), rel=1e-5)


def test_a_score_is_the_mean_of_both_looks(monkeypatch):
    """A face that is surer close by rises, one that is not seen there falls below the smallest score."""
    finder, opinions = _finder(
        monkeypatch, {5: 0.2, 25: 1.0}, lambda picture: 4.0 if picture[64, 64, 0] > 100 else -3.0
    )
    image = np.zeros((240, 320, 3), np.uint8)
    image[:, :160] = 255
    found = finder.detect(image)
    assert sorted(float(look[64, 64, 0]) for look in opinions.looks) == [0, 255]
    assert list(found.scores) == [_score(0.2, 4.0)]
    assert found.boxes[0, 0] < 160


def test_who_is_sure_at_once_needs_no_second_look(monkeypatch):
    finder, opinions = _finder(monkeypatch, {5: 2.5}, lambda picture: -9.0)
    assert list(finder.detect(np.zeros((240, 320, 3), np.uint8)).scores) == [_score(2.5)]
    assert not opinions.looks


def test_the_undecided_are_looked_at_mirrored_as_they_are_and_in_grey(monkeypatch):
    """Then the search counts twice, each further look once."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[:, 44:] = (0, 0, 200)  # red, to the right of the find's centre
    finder, opinions = _finder(
        monkeypatch, {5: 0.3}, lambda picture: 1.2 if np.ptp(picture[64, 64].astype(int)) < 5 else 0.6
    )
    found = finder.detect(image)
    mirrored, plain, gray = (look.astype(int) for look in opinions.looks)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    assert plain[64, 100, 0] == 200 and mirrored[64, 100, 0] == 0
    assert np.ptp(plain, axis=2).max() == 200 and np.ptp(gray, axis=2).max() == 0
    closest = [0.6 if np.ptp(look[64, 64]) >= 5 else 1.2 for look in (mirrored, plain, gray)]
    assert list(found.scores) == [_score(0.3, 0.3, *closest)]
