"""Scenes for the finder's training and test: rendered heads of all sizes among things that are no faces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from trg_ros.crop import centered_box
from trg_ros.finder.training.backdrops import Backdrops
from trg_ros.finder.training.decoys import decoys
from trg_ros.finder.training.develop import develop
from trg_ros.finder.training.layers import (
    Head,
    head_map,
    heads_of,
    mirrored,
    paint_body,
    paint_picture,
    paint_thing,
    picture_map,
    without_face,
)
from trg_ros.synthetic.dataset import RenderedDataset

#: TRG boxes with a smaller side (px) are too small to be asked for, or to be wrong about.
SMALLEST_SIDE = 14.0
#: Faces turned further away than the first (radians) are no longer asked for; beyond the second they are
#: backs of heads, and a find there is wrong.
LAST_FACE, FIRST_BACK = math.radians(92), math.radians(108)
#: A face with more than this part of its 68 points covered or outside is neither asked for nor wrong.
MOST_HIDDEN = 0.5


@dataclass(frozen=True)
class FinderScene:
    """image: (H, W, 3) uint8 RGB. boxes: (N, 3) centre x, y and side of the TRG boxes, px. points: (N, 5, 2)
    px: right eye, left eye, nose tip, right and left mouth corner of the person. wanted: (N,) bool; the
    others are too small, covered or turned away, and neither right nor wrong to find."""

    image: np.ndarray
    boxes: np.ndarray
    points: np.ndarray
    wanted: np.ndarray


@dataclass(frozen=True)
class SceneSettings:
    """width, height: px. sides: of the boxes, px, from and to. empty: part of scenes without any face.
    crowded: part with many small faces. photometric: probability factor of blur, colour, noise and JPEG."""

    width: int = 192
    height: int = 160
    sides: tuple[float, float] = (13.0, 180.0)
    empty: float = 0.15
    crowded: float = 0.2
    photometric: float = 1.0


def five_points(points68: np.ndarray) -> np.ndarray:
    """(..., 68, 2) -> (..., 5, 2): middles of the eyes, nose tip, mouth corners; the person's right first."""
    eyes = [points68[..., 36:42, :].mean(axis=-2), points68[..., 42:48, :].mean(axis=-2)]
    return np.stack([*eyes, *(points68[..., k, :] for k in (30, 48, 54))], axis=-2)


class _People:
    """The heads of a scene that is being painted, and which of their 68 points can still be seen."""

    def __init__(self, image: np.ndarray) -> None:
        self._image = image
        self.boxes: list[np.ndarray] = []
        self.points: list[np.ndarray] = []
        self.angles: list[float] = []
        self._pixels = np.zeros((0, 68, 2), np.int64)
        self._seen = np.zeros((0, 68), bool)

    def add(self, points68: np.ndarray, angle: float) -> None:
        """A head that was just painted, its points (68, 2) px."""
        self.boxes.append(centered_box(points68))
        self.points.append(five_points(points68))
        self.angles.append(angle)
        limits = np.array(self._image.shape[1::-1]) - 1
        pixels = points68.round().astype(np.int64)
        seen = (pixels == np.clip(pixels, 0, limits)).all(axis=1)
        self._pixels = np.concatenate([self._pixels, np.clip(pixels, 0, limits)[None]])
        self._seen = np.concatenate([self._seen, seen[None]])

    @contextmanager
    def painted_over(self) -> Iterator[None]:
        """What changes inside this context covers the points that it changes."""
        x, y = self._pixels[..., 0], self._pixels[..., 1]
        before = self._image[y, x].astype(np.int16)
        yield
        changed = np.abs(self._image[y, x] - before).max(axis=-1) > 6
        self._seen &= ~changed

    def hidden(self) -> np.ndarray:
        """(N,) part of each head's points that is covered or outside."""
        return np.asarray(1 - self._seen.mean(axis=1))


class SceneComposer:
    """Draws scenes; scene k of a seed is always the same one as long as its data sets don't grow.

    :param datasets: rendered heads, and how often each is drawn from.
    :param photos: RGB pictures without people; invented backgrounds are used as well.
    :param textures, things: how many backgrounds, and how many :func:`decoys`, to invent.
    """

    def __init__(
        self,
        datasets: Sequence[tuple[RenderedDataset, float]],
        photos: Sequence[np.ndarray],
        settings: SceneSettings | None = None,
        textures: int = 300,
        things: int = 300,
    ) -> None:
        self.settings = settings or SceneSettings()
        self._datasets = [dataset for dataset, _ in datasets]
        shares = np.array([share for _, share in datasets])
        self._shares = shares / shares.sum()
        self._backdrops = Backdrops(photos, textures)
        self._decoys = decoys(things, self._backdrops.invented, seed=6)

    def scene(self, seed: int, number: int) -> FinderScene:
        """Scene ``number`` of a seed."""
        rng = np.random.default_rng([seed, number])
        image = self._backdrops.image(self.settings.width, self.settings.height, rng)
        far = int(rng.integers(0, 9))
        for k in range(far):
            self._paint_distractor(image, rng)
            if k == far // 2 and rng.random() < 0.25:  # out of focus, like lights and people far behind
                image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 5))
        people = _People(image)
        for side in self._sides(rng):
            self._paint_person(image, people, side, rng)
        for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.35 else 0):
            with people.painted_over():
                self._paint_occluder(image, people, rng)
        clear = 0.25 if rng.random() < 0.35 else 1.0
        image = develop(image, self.settings.photometric * clear, rng)
        boxes = np.array(people.boxes, np.float32).reshape(-1, 3)
        points = np.array(people.points, np.float32).reshape(-1, 5, 2)
        wanted = (people.hidden() <= MOST_HIDDEN) & (boxes[:, 2] >= SMALLEST_SIDE)
        wanted &= np.array(people.angles, np.float32) <= LAST_FACE
        limits = [self.settings.width - 1, self.settings.height - 1]
        wanted &= (boxes[:, :2] == np.clip(boxes[:, :2], 0, limits)).all(axis=1)
        return FinderScene(image, boxes, points, wanted)

    def _sides(self, rng: np.random.Generator) -> np.ndarray:
        """Box sides of the people to paint, far (small) ones first."""
        small, large = self.settings.sides
        kind = rng.random()
        if kind < self.settings.empty:
            return np.zeros(0)
        if kind < self.settings.empty + self.settings.crowded:
            middle = rng.uniform(1.2 * small, min(4 * small, large))
            sides = middle * np.exp(rng.normal(0, 0.25, int(rng.integers(6, 18))))
        else:
            count = int(rng.choice([1, 2, 3, 4, 6], p=[0.35, 0.25, 0.2, 0.12, 0.08]))
            sides = small * (large / small) ** rng.random(count)
        return np.sort(np.clip(sides, small, large))

    def _head(self, rng: np.random.Generator) -> Head:
        dataset = self._datasets[rng.choice(len(self._datasets), p=self._shares)]
        head = heads_of(dataset.gather(rng.integers(0, len(dataset), 1)))[0]
        return mirrored(head) if rng.random() < 0.5 else head

    def _place(self, people: _People, side: float, rng: np.random.Generator) -> np.ndarray | None:
        """A centre where no other head of the crowd is hidden much, if there is one."""
        limits = np.array([self.settings.width, self.settings.height])
        for _ in range(6):
            center = rng.uniform(-0.04, 1.04, 2) * limits
            center = limits / 2 + (center - limits / 2) * max(0.3, 1 - 0.5 * side / limits[1])
            apart = [
                np.abs(center - box[:2]).max() - 0.5 * (side * 0.8 + box[2] * 0.6) for box in people.boxes
            ]
            if not apart or min(apart) > 0:
                return center
        return None

    def _paint_person(
        self, image: np.ndarray, people: _People, side: float, rng: np.random.Generator
    ) -> None:
        center = self._place(people, side, rng)
        if center is None:
            return
        head, roll = self._head(rng), _draw_turn(rng)
        place = head_map(head, center, side, roll)
        points68 = head.points68 @ place[:, :2].T + place[:, 2]
        gain = _draw_gain(rng)
        with people.painted_over():
            if rng.random() < 0.7:
                lean = 0.4 * roll + rng.normal() * 0.08
                paint_body(image, points68[8], side, lean, self._backdrops.texture(rng), rng)
            paint_picture(image, head.picture, place, gain)
        if head.angle < FIRST_BACK:
            people.add(points68, head.angle)

    def _paint_distractor(self, image: np.ndarray, rng: np.random.Generator) -> None:
        """Something that is no face, of the size that faces have."""
        small, large = self.settings.sides
        size = math.exp(rng.uniform(math.log(small), math.log(large)))
        center = rng.uniform(0, 1, 2) * [self.settings.width, self.settings.height]
        kind = rng.random()
        if kind < 0.45:
            self._paint_decoy(image, center, size * rng.uniform(0.7, 2.5), rng)
        elif kind < 0.48:  # too close: no more than an eye or an ear fits into the picture
            size, head = self.settings.height * rng.uniform(2.5, 6), self._head(rng)
            place = head_map(head, center + rng.uniform(-0.5, 0.5, 2) * size, size, _draw_turn(rng))
            paint_picture(image, head.picture, place, _draw_gain(rng))
        elif kind < 0.62:
            head = without_face(self._head(rng), rng)
            if rng.random() < 0.5:
                paint_body(image, center + [0, 0.35 * size], size, 0.0, self._backdrops.texture(rng), rng)
            place = head_map(head, center, size, _draw_turn(rng))
            paint_picture(image, head.picture, place, rng.uniform(0.55, 1.15) * np.ones(3))
        else:
            paint_thing(image, center, size, self._backdrops.texture(rng), rng)

    def _paint_occluder(self, image: np.ndarray, people: _People, rng: np.random.Generator) -> None:
        """Something in front of a face, more often at its edge than on it."""
        if not people.boxes:
            return
        box = people.boxes[rng.integers(len(people.boxes))]
        angle, reach = rng.uniform(0, 2 * math.pi), box[2] * rng.uniform(0.15, 0.7)
        center = box[:2] + reach * np.array([math.cos(angle), math.sin(angle)])
        if rng.random() < 0.3:
            self._paint_decoy(image, center, box[2] * rng.uniform(0.4, 1.2), rng)
        else:
            paint_thing(image, center, box[2] * rng.uniform(0.2, 0.9), self._backdrops.texture(rng), rng)

    def _paint_decoy(
        self, image: np.ndarray, center: np.ndarray, size: float, rng: np.random.Generator
    ) -> None:
        picture = self._decoys[rng.integers(len(self._decoys))]
        turn = _draw_turn(rng) if rng.random() < 0.5 else rng.uniform(0, 2 * math.pi)
        if rng.random() < 0.5:
            picture = np.ascontiguousarray(picture[:, ::-1])
        place = picture_map(picture, center, size / picture.shape[0], turn)
        paint_picture(image, picture, place, _draw_gain(rng))


def _draw_turn(rng: np.random.Generator) -> float:
    """Radians: mostly upright, sometimes lying."""
    return math.radians(rng.normal() * 9 if rng.random() < 0.5 else rng.uniform(-75, 75) * rng.random())


def _draw_gain(rng: np.random.Generator) -> np.ndarray:
    """(3,) on a head's colours: how light it is where it stands."""
    return rng.uniform(0.55, 1.15) * rng.uniform(0.92, 1.08, 3)
