"""Images with a known number of faces: one photo's face, as often as needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.errors import InputError

#: Side of the part of the photo that is repeated, over the side of the face's box.
_SURROUNDINGS = 1.6
#: Side of that part in the image, over the image's height, at most.
_LARGEST_CELL = 0.6
#: In pixels, at least, if all are side by side: below a nearer head a tracker looks for nobody.
_LEAST_IN_A_ROW = 120


@dataclass(frozen=True)
class Scene:
    """:param boxes: (N, 4) TRG boxes LTRB px of the N faces."""

    image_bgr: NDArray[np.uint8]
    camera: CameraModel
    boxes: NDArray[np.float64]


def read_photo(path: str | None) -> NDArray[np.uint8]:
    """A photo (H, W, 3) uint8 BGR; None: scikit-image's portrait of an astronaut.

    :raises InputError: when it can't be read, or scikit-image is missing.
    """
    if path is not None:
        image = cv2.imread(path, cv2.IMREAD_COLOR) if Path(path).is_file() else None
        if image is None:
            raise InputError(f"photo {path} is not an image that can be read")
        return np.asarray(image, np.uint8)
    try:
        from skimage import data
    except ImportError as error:
        raise InputError("give a photo with a face (--photo), or: pip install scikit-image") from error
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


def make_scene(photo_bgr: NDArray[np.uint8], face_box: NDArray, faces: int, size: tuple[int, int]) -> Scene:
    """``faces`` copies of the photo's face in an image of ``size`` (width, height), in a grid.

    :param face_box: TRG box LTRB px of the face in the photo.
    """
    width, height = size
    image = np.full((height, width, 3), 96, np.uint8)
    cell = _cell_side(faces, width, height)
    columns = width // cell
    x, y = cell * (np.arange(faces) % columns), cell * (np.arange(faces) // columns)
    patch = _patch(photo_bgr, face_box, cell)
    for left, top in zip(x, y, strict=True):
        image[top : top + cell, left : left + cell] = patch
    margin = 0.5 * cell * (1 - 1 / _SURROUNDINGS)
    boxes = np.stack([x + margin, y + margin, x + cell - margin, y + cell - margin], axis=1)
    return Scene(image, CameraModel.from_fov(60.0, width, height), boxes)


def _cell_side(faces: int, width: int, height: int) -> int:
    """Side of the largest squares that fit ``faces`` times, if they can in one row; a single face doesn't
    fill the image either."""
    side = round(_LARGEST_CELL * height)
    if faces and width // faces >= _LEAST_IN_A_ROW:
        return min(side, width // faces)
    while (width // side) * (height // side) < faces:
        side -= 1
    return side


def _patch(photo_bgr: NDArray[np.uint8], face_box: NDArray, side: int) -> NDArray[np.uint8]:
    """The face and its surroundings as a square, reduced without aliasing."""
    half = 0.5 * _SURROUNDINGS * float((face_box[2:] - face_box[:2]).max())
    x, y = 0.5 * (face_box[:2] + face_box[2:])
    size = max(2, round(2 * half))
    cut = cv2.getRectSubPix(photo_bgr, (size, size), (float(x), float(y)))
    method = cv2.INTER_AREA if size > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (side, side), interpolation=method), np.uint8)
