"""Text beside face boxes, on dark plates that keep out of each other's and the faces' way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]
ImageArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

_FONT = cv2.FONT_HERSHEY_DUPLEX
_SMALLEST_SCALE = 0.32  # below it digits are blots
_TEXT_BGR: Colour = (245, 245, 245)
_PLATE_BGR: Colour = (25, 22, 20)
_FACE_COST = 0.5
"""What it costs to cover a face box, if covering another plate costs 1."""
_DETOURS = np.array([0.0, 0.2, 0.1])
"""What it costs to be below, above, or below but inside of the box; the upward axis is above."""


class Label(NamedTuple):
    """One line of text that belongs to a face box."""

    text: str
    box: FloatArray
    """(4,) LTRB px."""
    colour: Colour
    """BGR of the bar at the plate's left end."""


class _Style(NamedTuple):
    """Sizes of a label's text and plate in pixels."""

    scale: float
    thickness: int
    margin: int
    text_height: int
    width: int
    height: int


def draw_labels(canvas: ImageArray, labels: Sequence[Label]) -> None:
    """Draws the labels in place; the first of them choose their places first and lie on top.

    :param canvas: (H, W, 3) uint8 BGR, drawn upon.
    """
    if not labels:
        return
    styles = [_style(label, canvas.shape[0]) for label in labels]
    boxes = np.array([label.box for label in labels], np.float64)
    plates = np.zeros((len(labels), 4))
    for index, style in enumerate(styles):
        candidates = _candidates(boxes[index], style, canvas.shape)
        costs = _shares_covered(candidates, plates[:index]) + _DETOURS
        costs += _FACE_COST * _shares_covered(candidates, boxes)
        plates[index] = candidates[np.argmin(costs)]
    for label, style, plate in reversed(list(zip(labels, styles, plates, strict=True))):
        _draw_plate(canvas, label, style, int(plate[0]), int(plate[1]))


def _style(label: Label, image_height: int) -> _Style:
    """The text grows with the face, within what can be read in an image of this height."""
    width, height = np.maximum(label.box[2:] - label.box[:2], 1.0)
    scale = float(np.clip(0.0028 * np.sqrt(width * height), 0.00042 * image_height, 0.0016 * image_height))
    scale = max(scale, _SMALLEST_SCALE)
    thickness = max(1, round(1.3 * scale))
    (text_width, text_height), _ = cv2.getTextSize(label.text, _FONT, scale, thickness)
    margin = max(3, int(np.ceil(0.45 * text_height)))  # "#" reaches below the line
    plate = text_width + 2 * margin + margin // 3, text_height + 2 * margin
    return _Style(scale, thickness, margin, text_height, *plate)


def _candidates(box: FloatArray, style: _Style, shape: tuple[int, ...]) -> FloatArray:
    """(3, 4) LTRB px: a plate below the box, above it, and below but inside of it; all within the image."""
    gap = max(2, style.margin // 2)
    left = box[0] - 0.5 * max(style.width - (box[2] - box[0]), 0.0)
    top = np.array([box[3] + gap, box[1] - gap - style.height, box[3] - gap - style.height])
    left = np.clip(left, 0, max(shape[1] - style.width, 0))
    top = np.clip(top, 0, max(shape[0] - style.height, 0))
    corners = np.floor(np.stack([np.broadcast_to(left, 3), top], axis=1))
    return np.concatenate([corners, corners + [style.width, style.height]], axis=1)


def _shares_covered(plates: FloatArray, others: FloatArray) -> FloatArray:
    """(N,) for each of (N, 4) plates the area under which (M, 4) others lie, added up, over its own area."""
    first = np.maximum(plates[:, None, :2], others[:, :2])
    last = np.minimum(plates[:, None, 2:], others[:, 2:])
    area = np.maximum(last - first, 0.0).prod(axis=2).sum(axis=1)
    return np.asarray(area / (plates[:, 2:] - plates[:, :2]).prod(axis=1))


def _draw_plate(canvas: ImageArray, label: Label, style: _Style, left: int, top: int) -> None:
    plate = canvas[top : top + style.height, left : left + style.width]
    plate[:] = cv2.addWeighted(plate, 0.35, np.full_like(plate, _PLATE_BGR), 0.65, 0.0)
    plate[:, : max(2, style.margin // 3)] = label.colour
    at = left + style.margin + style.margin // 3, top + style.margin + style.text_height
    cv2.putText(canvas, label.text, at, _FONT, style.scale, _TEXT_BGR, style.thickness, cv2.LINE_AA)
