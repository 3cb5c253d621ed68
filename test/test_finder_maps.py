"""The face finder's maps: targets, decoding, loss."""

import numpy as np
import pytest
import torch

from trg_ros.finder.config import CHANNELS, HEAT, LOG_SIDE, STRIDE
from trg_ros.finder.decoding import decode
from trg_ros.finder.training.scenes import (
    FinderScene,
)
from trg_ros.finder.training.targets import cell_centers, finder_loss, make_targets


def scene_with(boxes, wanted=None, size=(96, 128)):
    """A scene without a picture; the five points lie on a diagonal through each box."""
    boxes = np.array(boxes, np.float32).reshape(-1, 3)
    points = boxes[:, None, :2] + boxes[:, 2:, None] * np.linspace(-0.3, 0.3, 5)[None, :, None]
    wanted = np.ones(len(boxes), bool) if wanted is None else np.array(wanted)
    return FinderScene(np.zeros((*size, 3), np.uint8), boxes, points.astype(np.float32), wanted)


def answer(targets):
    """The map of a network that answers just as it should: (14, H, W)."""
    output = targets.values[0].numpy().copy()
    heat = np.clip(targets.heat[0].numpy(), 1e-4, 0.999)
    output[HEAT] = np.log(heat / (1 - heat))
    return output


def test_decoding_undoes_the_targets():
    """What training asks for decodes to the boxes and points that it was made of, to rounding."""
    scene = scene_with([[40.3, 50.9, 41.0], [101.0, 22.2, 16.0]])
    found = decode(answer(make_targets([scene])), min_score=0.6)
    assert len(found.scores) == 2
    for box, points in zip(scene.boxes, scene.points, strict=True):
        k = int(np.abs((found.boxes[:, 0] + found.boxes[:, 2]) / 2 - box[0]).argmin())
        expected = [*(box[:2] - box[2] / 2), *(box[:2] + box[2] / 2)]
        np.testing.assert_allclose(found.boxes[k], expected, atol=1e-3)
        np.testing.assert_allclose(found.points[k], points, atol=1e-3)
    assert (np.diff(found.scores) <= 0).all()
    assert found.boxes.dtype == found.points.dtype == found.scores.dtype == np.float32


def test_decoding_one_cell_in_closed_form():
    output = np.zeros((CHANNELS, 6, 8), np.float32)
    output[HEAT] = -9
    output[:, 2, 5] = [np.log(4), 0.25, -0.5, np.log(40 / STRIDE), *([0.1, 0.2] * 5)]
    found = decode(output, min_score=0.6)
    x, y = 5 * 8 + 3.5, 2 * 8 + 3.5
    np.testing.assert_allclose(found.scores, [0.8], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[x + 10 - 20, y - 20 - 20, x + 10 + 20, y - 20 + 20]], rtol=1e-6)
    np.testing.assert_allclose(found.points[0], [[x + 4, y + 8]] * 5, rtol=1e-6)
    assert len(decode(output, min_score=0.81).scores) == 0


def test_one_face_that_is_seen_twice_is_one():
    """Two maxima that mean the same box count once, two that mean neighbours count twice."""
    output = np.zeros((CHANNELS, 8, 16), np.float32)
    output[HEAT] = -9
    for column, logit, center in ((3, 3.0, 0.5), (6, 2.0, -0.25), (13, 1.0, 0.0)):
        output[HEAT, 4, column] = logit
        output[1, 4, column] = center
        output[LOG_SIDE, 4, column] = np.log(4)
    found = decode(output, min_score=0.6)
    np.testing.assert_allclose(found.boxes[:, [0, 2]].mean(axis=1), [27.5 + 16, 107.5])


def test_every_score_threshold_is_allowed():
    output = np.full((CHANNELS, 4, 4), -2.0, np.float32)
    assert len(decode(output, min_score=0.0).scores) >= 1
    assert len(decode(output, min_score=1.0).scores) == 0


def test_targets():
    """One centre per wanted face, weights that sum to 1, no blame around the others."""
    targets = make_targets([scene_with([[40, 40, 30], [90, 60, 24]], wanted=[True, False])])
    assert int((targets.heat == 1).sum()) == 1
    assert float(targets.weight.sum()) == pytest.approx(1)
    row, column = np.unravel_index(int(targets.heat[0].argmax()), (12, 16))
    assert np.abs(cell_centers(12, 16)[row, column] - 40).max() <= 4
    assert targets.cared[0, 7, 11] == 0 and targets.cared[0, row, column] == 1


def test_loss_is_smallest_for_the_right_answer():
    targets = make_targets([scene_with([[40.3, 50.9, 41.0]])])
    right = torch.from_numpy(answer(targets))[None]
    best, parts = finder_loss(right, targets)
    assert parts["center"] < 1e-6 and parts["side"] < 1e-6 and parts["points"] < 1e-6
    for channel, change in ((HEAT, -12), (HEAT, 6), (LOG_SIDE, 0.5), (1, 0.5), (9, -0.5)):
        wrong = right.clone()
        wrong[0, channel] += change
        assert finder_loss(wrong, targets)[0] > best
    nothing = make_targets([scene_with([])])
    assert torch.isfinite(finder_loss(torch.zeros(1, CHANNELS, 12, 16), nothing)[0])
