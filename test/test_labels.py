"""Labels of an overlay: readable, near their faces, beside each other."""

import numpy as np
import pytest

from trg_ros.labels import Label, draw_labels

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def drawn(boxes, shape=(480, 640), text="#3 1.25 m"):
    """An image of labels at face boxes, the first of them the nearest."""
    canvas = np.full((*shape, 3), 120, np.uint8)
    draw_labels(canvas, [Label(text, np.array(box, float), COLOURS[i]) for i, box in enumerate(boxes)])
    return canvas


def bar(canvas, index):
    """Left, top, right, bottom px of label `index`'s bar; nothing else has its colour."""
    rows, columns = np.nonzero(np.all(canvas == COLOURS[index], axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_label_is_below_its_box_and_nothing_else_changes():
    canvas = drawn([[200, 100, 360, 260]])
    left, top, _, bottom = bar(canvas, 0)
    assert left == 200 and 260 < top < 270 and bottom - top > 10
    rows, columns = np.nonzero(np.any(canvas != 120, axis=2))
    assert (columns.min(), rows.min(), rows.max() + 1) == (left, top, bottom)


def test_no_label_no_change():
    assert np.all(drawn([]) == 120)


def plate(canvas):
    """Width and height px of what has changed."""
    rows, columns = np.nonzero(np.any(canvas != 120, axis=2))
    return np.ptp(columns) + 1, np.ptp(rows) + 1


@pytest.mark.parametrize(
    "box",
    [[100, 150, 400, 450], [500, 100, 800, 400], [-900, 100, -600, 400], [-500, -500, 2000, 2000]],
    ids=["bottom", "right", "far_outside", "fills_the_image"],
)
def test_the_whole_plate_stays_in_the_image(box):
    assert plate(drawn([box])) == plate(drawn([[100, 50, 400, 350]]))


def test_a_label_stays_out_of_another_face():
    near, far = [200, 200, 400, 400], [250, 90, 350, 195]
    _, top, _, bottom = bar(drawn([near, far]), 1)
    assert bottom <= far[1] or top >= near[3]
    assert bar(drawn([far]), 0)[1] > far[3], "below, where nobody is"


@pytest.mark.parametrize("order", [1, -1])
def test_labels_do_not_cover_each_other(order):
    """Two faces of which one is before the other, and a third far below both."""
    boxes = [[100, 100, 160, 160], [120, 102, 180, 162], [110, 300, 170, 360]][::order]
    alone = sum(np.any(drawn([box]) != 120, axis=2).sum() for box in boxes)
    assert np.any(drawn(boxes) != 120, axis=2).sum() == alone


def test_text_grows_with_the_face_and_fits_a_small_one():
    widths = [plate(drawn([[100, 100, 100 + side, 100 + side]]))[0] for side in (20, 120, 240)]
    assert widths[0] < 90 and widths == sorted(widths) and widths[2] > 1.5 * widths[0]


def test_wider_than_its_box_a_label_is_centred():
    canvas = drawn([[300, 100, 320, 120]])
    columns = np.nonzero(np.any(canvas != 120, axis=2))[1]
    assert columns.mean() == pytest.approx(310, abs=1)
