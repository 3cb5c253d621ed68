"""The finder's second look at what it found: close by, in the whole image's detail, mirrored."""

import numpy as np
import pytest

from trg_ros.finder.config import CHANNELS, HEAT, LOG_SIDE, STRIDE
from trg_ros.finder.decoding import heat_of
from trg_ros.finder.detector import TRGFinder, _close_by


@pytest.mark.parametrize("side", [9.0, 45.0, 90.0, 333.0])
@pytest.mark.parametrize("center", [(200.0, 150.0), (3.0, 290.0)])
def test_it_shows_the_box_mirrored(side, center):
    """A blob in the box's left eye corner is in the right one of the picture, at the right size."""
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
    np.testing.assert_allclose(found, 63.5 + 90 * np.array([-0.25, -0.2]), atol=2.5)


def test_boxes_beyond_the_image_are_black():
    image = np.full((60, 80, 3), 200, np.uint8)
    for box in ((300, 300, 340, 340), (-90, -90, -50, -50)):
        assert _close_by(image, np.array(box, np.float32)).max() == 0


def test_only_cells_that_mean_the_box_count():
    output = np.zeros((CHANNELS, 16, 16), np.float32)
    output[HEAT], output[LOG_SIDE] = -5, np.log(90 / STRIDE)
    output[HEAT, 8, 8], output[HEAT, 0, 0], output[HEAT, 8, 9] = 1.5, 4, 3
    output[LOG_SIDE, 8, 9] = np.log(20 / STRIDE)  # a smaller face in the middle
    box = np.array([19, 19, 109, 109], np.float32)
    assert heat_of(output, box) == pytest.approx(1.5)
    assert heat_of(output, box - 400) < -6


def test_a_score_is_the_mean_of_both_looks(monkeypatch):
    """A face that is surer close by rises, one that is not seen there falls below the smallest score."""
    finder = TRGFinder()
    close = []

    def run(images):
        output = np.zeros((1, CHANNELS, images.shape[1] // STRIDE, images.shape[2] // STRIDE), np.float32)
        output[:, HEAT] = -9
        if images.shape[1] == 128:
            close.append(float(images[0, 64, 64, 0]))
            output[0, LOG_SIDE, 8, 8] = np.log(90 / STRIDE)
            output[0, HEAT, 8, 8] = 2.0 if close[-1] > 100 else -3.0
        else:
            output[0, LOG_SIDE], output[0, HEAT, 5, 5], output[0, HEAT, 5, 25] = np.log(5), 0.0, 2.0
        return output

    monkeypatch.setattr(finder, "_run", run)
    image = np.zeros((240, 320, 3), np.uint8)
    image[:, :160] = 255
    found = finder.detect(image)
    assert sorted(close) == [0, 255]
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-1.0))], rtol=1e-5)
    assert found.boxes[0, 0] < 160
