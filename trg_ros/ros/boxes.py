"""Face boxes from another node, and the images they belong to."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from trg_ros.detection import trg_boxes_from_face_boxes
from trg_ros.errors import InputError

FloatArray = npt.NDArray[np.float32]


def boxes_from_message(message: Any, width: int, height: int) -> tuple[FloatArray, FloatArray]:
    """trg_ros/FaceBoxArray or vision_msgs/Detection2DArray -> boxes (N, 4) and scores (N,).

    The messages carry boxes as detectors draw them, tight from forehead to chin; what comes back are the
    larger square ones of TRG: left, top, right, bottom in px. Trackers' boxes may leave the image (width x
    height px): those that are outside altogether are left out.
    Raises InputError for a box without area or with NaN.
    """
    if hasattr(message, "boxes"):
        rows = [(box.left, box.top, box.right, box.bottom, box.score) for box in message.boxes]
    else:
        rows = [_detection(detection) for detection in message.detections]
    table = np.asarray(rows, dtype=np.float32).reshape(-1, 5)
    for left, top, right, bottom, score in table.tolist():
        if not (np.isfinite([left, top, right, bottom]).all() and left < right and top < bottom):
            raise InputError(
                f"detections have a box ({left:g}, {top:g}) .. ({right:g}, {bottom:g}): it needs left < "
                "right and top < bottom, in pixels"
            )
        if not np.isfinite(score):
            raise InputError(f"detections have a box with score {score}; give a number in 0 .. 1")
    boxes = trg_boxes_from_face_boxes(table[:, :4])
    inside = ((boxes[:, :2] < (width, height)) & (boxes[:, 2:] > -1)).all(axis=1)
    return boxes[inside], table[inside, 4]


def _detection(detection: Any) -> tuple[float, float, float, float, float]:
    """vision_msgs keeps a centre and a size; a box without hypotheses counts as certain."""
    centre = getattr(detection.bbox.center, "position", detection.bbox.center)
    half_width, half_height = 0.5 * detection.bbox.size_x, 0.5 * detection.bbox.size_y
    score = max((result.hypothesis.score for result in detection.results), default=1.0)
    return (
        centre.x - half_width,
        centre.y - half_height,
        centre.x + half_width,
        centre.y + half_height,
        score,
    )


class BoxPairing:
    """Brings an image and the boxes found in it together by their stamps, whichever comes first.

    Keeps the last `depth` of each that wait; the rest is forgotten.
    """

    def __init__(self, depth: int = 10) -> None:
        self._depth = depth
        self._images: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._boxes: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def add_image(self, image: Any) -> tuple[Any, Any] | None:
        """(image, boxes message) if its boxes are here already."""
        key = _stamp(image)
        if key in self._boxes:
            return image, self._boxes.pop(key)
        self._keep(self._images, key, image)
        return None

    def add_boxes(self, boxes: Any) -> tuple[Any, Any] | None:
        """(image, boxes message) if its image is here already."""
        key = _stamp(boxes)
        if key in self._images:
            return self._images.pop(key), boxes
        self._keep(self._boxes, key, boxes)
        return None

    def _keep(self, waiting: OrderedDict[tuple[int, int], Any], key: tuple[int, int], message: Any) -> None:
        waiting[key] = message
        while len(waiting) > self._depth:
            waiting.popitem(last=False)


def _stamp(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec
