"""What is behind people: parts of photographs without any, and invented pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from trg_ros.errors import InputError
from trg_ros.finder.training.layers import paint_shape
from trg_ros.synthetic.backgrounds import procedural_patches


def read_photos(folder: Path | str, longest: int = 900) -> list[np.ndarray]:
    """All pictures of a folder as RGB, reduced.

    :raises InputError: when there are none.
    """
    pictures = [cv2.imread(str(path)) for path in sorted(Path(folder).iterdir()) if path.is_file()]
    photos = [picture[..., ::-1] for picture in pictures if picture is not None]
    if not photos:
        raise InputError(f"no readable picture in {folder}: give a folder of photographs without people")
    scales = [min(1.0, longest / max(photo.shape[:2])) for photo in photos]
    return [
        cv2.resize(np.ascontiguousarray(photo), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for photo, scale in zip(photos, scales, strict=True)
    ]


class Backdrops:
    """Draws backgrounds and textures.

    :param photos: RGB pictures without people; may be none.
    :param invented: how many pictures to invent.
    """

    def __init__(self, photos: Sequence[np.ndarray], invented: int) -> None:
        self._photos = list(photos)
        self.invented = list(procedural_patches(invented, 160, seed=5))

    def texture(self, rng: np.random.Generator) -> np.ndarray:
        """A random part of a photo or an invented picture, not larger than 160 px."""
        if self._photos and rng.random() < 0.5:
            photo = self._photos[rng.integers(len(self._photos))]
            side = int(rng.integers(40, min(photo.shape[:2])))
            top, left = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
            step = max(1, side // 160)
            return photo[top : top + side : step, left : left + side : step]
        return self.invented[rng.integers(len(self.invented))]

    def image(self, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        """A part of a photo or an invented picture, sometimes with walls and furniture of others."""
        if self._photos and rng.random() < 0.6:
            source = self._photos[rng.integers(len(self._photos))]
        else:
            source = self.invented[rng.integers(len(self.invented))]
        part = rng.uniform(0.3, 1.0)
        rows, columns = (max(2, int(length * part)) for length in source.shape[:2])
        top, left = (
            int(rng.integers(0, length - taken + 1))
            for length, taken in zip(source.shape[:2], (rows, columns), strict=True)
        )
        window = source[top : top + rows, left : left + columns]
        mode = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
        image = cv2.resize(window, (width, height), interpolation=mode)
        if rng.random() < 0.5:
            image = image[:, ::-1]
        dark = rng.random() < 0.15
        gain = rng.uniform(0.05, 0.35) if dark else rng.uniform(0.35, 1.15)
        image = cv2.convertScaleAbs(np.ascontiguousarray(image), alpha=gain)
        for _ in range(int(rng.integers(0, 7)) if rng.random() < 0.6 else 0):
            low = rng.uniform([-0.3 * width, -0.3 * height], [width, height])
            high = low + rng.uniform(0.05, 0.8, 2) * [width, height]
            corners = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
            corners += rng.normal(size=(4, 2)) * 0.04 * height
            paint_shape(image, corners, self.texture(rng), soft=float(rng.choice([0, 1, 4])))
        return image
