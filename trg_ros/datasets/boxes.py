"""Boxes that belong to pictures by name: from a table, from TRG's release, or from a face detector."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.crop import box_from_landmarks68
from trg_ros.datasets.sample import Sample
from trg_ros.detection import FaceDetector
from trg_ros.errors import DatasetError
from trg_ros.paths import user_path
from trg_ros.plain_pickle import UNREADABLE, PickledArray, RestrictedUnpickler

Array = NDArray[np.float64]

_COLUMNS = ("image", "left", "top", "right", "bottom")


def move_into_image(box: ArrayLike, width: int, height: int) -> Array:
    """A box LTRB px moved, not cut, so that it lies inside 0..width-1, 0..height-1; right and bottom have
    the last word where it is larger than the picture (the protocol of BIWI and 300W-LP in the release)."""
    left, top, right, bottom = np.asarray(box, np.float64)
    shift_x, shift_y = max(0.0, -left), max(0.0, -top)
    shift_x -= max(0.0, right + shift_x - (width - 1))
    shift_y -= max(0.0, bottom + shift_y - (height - 1))
    return np.array([left + shift_x, top + shift_y, right + shift_x, bottom + shift_y])


def read_boxes(path: Path | str) -> dict[str, Array]:
    """Boxes LTRB px by picture name: a table (.csv) of ours, or the release's annotation pickle of BIWI.

    :raises DatasetError: when the file is missing or has neither form.
    """
    path = user_path(path)
    try:
        if path.suffix == ".pkl":
            return _boxes_of_release(path.read_bytes())
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            boxes = {row["image"]: np.array([float(row[name]) for name in _COLUMNS[1:]]) for row in rows}
    except UNREADABLE as error:
        raise DatasetError(
            f"can't read the boxes in {path}: {error}; expected columns {', '.join(_COLUMNS)}"
        ) from error
    broken = [
        name for name, box in boxes.items() if not (np.isfinite(box).all() and (box[2:] > box[:2]).all())
    ]
    if broken or not boxes:
        raise DatasetError(
            f"{path}: " + (f"the box of {broken[0]} is empty or not finite" if broken else "no boxes")
        )
    return boxes


def write_boxes(path: Path | str, boxes: Mapping[str, ArrayLike]) -> None:
    """A table that `read_boxes` reads."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for name, box in boxes.items():
            writer.writerow([name, *(f"{value:.3f}" for value in np.asarray(box))])


def detect_boxes(samples: Iterable[Sample], detector: FaceDetector) -> dict[str, Array]:
    """TRG boxes of the largest face in every picture, by name; pictures without a face are left out."""
    boxes = {}
    for sample in samples:
        detections = detector.detect(sample.load_image())
        if len(detections):
            found = np.asarray(detector.trg_boxes(detections), np.float64)
            boxes[sample.name] = found[int(np.argmax(found[:, 2] - found[:, 0]))]
    return boxes


def _boxes_of_release(content: bytes) -> dict[str, Array]:
    """From `pred_kpt`: picture name -> landmarks (68, 3) that FAN found, px; the box corners are whole
    pixels."""
    loaded = _LandmarkUnpickler(BytesIO(content)).load()
    landmarks = loaded.get("pred_kpt") if isinstance(loaded, dict) else None
    if not isinstance(landmarks, dict) or not landmarks:
        raise pickle.UnpicklingError("no entry 'pred_kpt'")
    boxes = {}
    for name, points in landmarks.items():
        array = points.to_numpy() if isinstance(points, PickledArray) else np.zeros(0)
        if array.ndim != 2 or array.shape[0] != 68 or array.shape[1] < 2:
            raise ValueError(f"pred_kpt of {name} has shape {array.shape}, expected (68, 3)")
        boxes[str(name)] = box_from_landmarks68(array[:, :2], truncate=True)
    return boxes


class _LandmarkUnpickler(RestrictedUnpickler):
    """Numpy arrays are read; objects of any other class (the release's file holds meshes, too) become
    nothing."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = (module, name) in self.ALLOWED
        return super().find_class(module, name) if allowed else _Nothing


class _Nothing:
    """Takes everything a pickle says to an object, and does nothing with it."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __setstate__(self, _: Any) -> None: ...
    def __setitem__(self, *_: Any) -> None: ...
    def append(self, _: Any) -> None: ...
    def extend(self, _: Any) -> None: ...
