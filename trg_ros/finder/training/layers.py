"""What scenes are made of besides backgrounds: heads with their labels, and things that are no faces.

Everything paints onto an image (H, W, 3) uint8 RGB in place and draws its chances from the generator that is
passed in.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass, replace

import cv2
import numpy as np

from trg_ros.synthetic.dataset import RenderedSamples
from trg_ros.synthetic.landmark_set import default_landmark_set

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX)
_LETTERS = np.array(list(string.ascii_letters + string.digits + "  .,:-"))


@dataclass(frozen=True)
class Head:
    """A rendered head in its own pixels.

    picture: (S, S, 4) uint8, RGB premultiplied by the coverage. points68: (68, 2) px. side: of the TRG box of
    the upright head, px. angle: between the face's direction and the way to the camera, radians.
    """

    picture: np.ndarray
    points68: np.ndarray
    side: float
    angle: float


def heads_of(samples: RenderedSamples) -> list[Head]:
    """The samples' pictures and where their 68 landmarks are in them."""
    size = np.array([len(image) for image in samples.images], float)
    chosen = samples.landmarks_head[:, default_landmark_set().landmarks68]
    camera = chosen @ samples.rotation.transpose(0, 2, 1) + samples.translation[:, None]
    plane = camera[..., :2] / camera[..., 2:]
    scale = size / (samples.margin * samples.box[:, 2])
    points = (plane - samples.box[:, None, :2]) * scale[:, None, None] + (size / 2 - 0.5)[:, None, None]
    ray = samples.translation / np.linalg.norm(samples.translation, axis=1, keepdims=True)
    angles = np.arccos(np.clip((samples.rotation[:, :, 2] * ray).sum(axis=1), -1, 1))
    side = size / samples.margin
    return [Head(samples.images[i], points[i], float(side[i]), float(angles[i])) for i in range(len(samples))]


def mirrored(head: Head) -> Head:
    """The head in a mirror: its left points are now the right ones."""
    flip = default_landmark_set().flip[:68]
    points = head.points68[flip] * [-1, 1] + [head.picture.shape[1] - 1, 0]
    return replace(head, picture=np.ascontiguousarray(head.picture[:, ::-1]), points68=points)


def without_face(head: Head, rng: np.random.Generator) -> Head:
    """The same head with nothing on its face but skin, or with the face's parts in disorder."""
    picture = head.picture.copy()
    size = picture.shape[0]
    if rng.random() < 0.5:
        smooth = cv2.resize(picture, (5, 5), interpolation=cv2.INTER_AREA)
        smooth = cv2.resize(smooth, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        skin = smooth[..., :3] * (255 / np.maximum(smooth[..., 3:], 60))
        middle = head.points68.mean(axis=0)
        hull = cv2.convexHull(((head.points68 - middle) * 1.1 + middle).round().astype(np.int32))
        mask = cv2.blur(cv2.fillConvexPoly(np.zeros((size, size), np.uint8), hull, 255), (9, 9))
        mask = np.minimum(mask, picture[..., 3])[..., None] / np.float32(255)
        picture[..., :3] = np.clip(picture[..., :3] * (1 - mask) + skin * mask, 0, 255)
    else:
        tiles = int(rng.integers(3, 6))
        tile = int(head.side * 0.8) // tiles
        first = (size - tile * tiles) // 2
        inner = picture[first : first + tile * tiles, first : first + tile * tiles]
        grid = inner.reshape(tiles, tile, tiles, tile, 4).swapaxes(1, 2).reshape(-1, tile, tile, 4)
        grid = grid[rng.permutation(len(grid))].reshape(tiles, tiles, tile, tile, 4)
        inner[:] = grid.swapaxes(1, 2).reshape(inner.shape)
    return replace(head, picture=picture)


def head_map(head: Head, center: np.ndarray, side: float, roll: float) -> np.ndarray:
    """(2, 3) map from the head's pixels to the scene's: its box gets this centre (2,) and side, px, and is
    turned by ``roll`` radians."""
    return picture_map(head.picture, center, side / head.side, roll)


def picture_map(picture: np.ndarray, center: np.ndarray, scale: float, roll: float) -> np.ndarray:
    """(2, 3) map from the pixels of a square picture to the scene's; its middle comes to ``center`` (2,)."""
    middle = picture.shape[0] / 2 - 0.5
    cosine, sine = scale * math.cos(roll), scale * math.sin(roll)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, center - turn @ [middle, middle]])


def paint_picture(image: np.ndarray, picture: np.ndarray, place: np.ndarray, gain: np.ndarray) -> None:
    """Put a picture (S, S, 4) like :attr:`Head.picture` over the image; ``place`` as of :func:`picture_map`,
    gain (3,) on its colours."""
    picture, place = _reduced(picture, place)
    size = picture.shape[0]
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]) @ place.T
    region = _region(image, corners.min(axis=0), corners.max(axis=0))
    if region is None:
        return
    (left, top), part = region
    place = place - [[0, 0, left], [0, 0, top]]
    layer = cv2.warpAffine(picture, place, (part.shape[1], part.shape[0]), flags=cv2.INTER_LINEAR)
    rest = 1 - layer[..., 3:] * np.float32(1 / 255)
    part[:] = np.clip(part * rest + layer[..., :3] * gain.astype(np.float32), 0, 255)


def paint_body(image: np.ndarray, chin: np.ndarray, side: float, roll: float, texture: np.ndarray,
               rng: np.random.Generator) -> None:  # fmt: skip
    """Shoulders and chest under a chin (2,) px, of a head with a box of this side, in a cloth of ``texture``
    (T, T, 3)."""
    width, drop, depth = side * rng.uniform(0.75, 1.35), side * rng.uniform(0.12, 0.35), side * 4
    slope, neck = side * rng.uniform(0.1, 0.45), side * rng.uniform(0.2, 0.4)
    outline = np.array(
        [[-neck, 0], [neck, 0], [width * 0.8, slope * 0.6], [width, slope + 0.1 * side],
         [width * 1.05, depth], [-width * 1.05, depth], [-width, slope + 0.1 * side],
         [-width * 0.8, slope * 0.6]]
    )  # fmt: skip
    turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    outline = (outline + [0, drop]) @ turn.T + chin
    paint_shape(image, outline, _cloth(texture, rng), soft=1.0)


def paint_shape(image: np.ndarray, outline: np.ndarray, texture: np.ndarray, soft: float) -> None:
    """Fill a polygon (K, 2) px with a texture (T, T, 3) that is stretched over it; edges ``soft`` px wide."""
    region = _region(image, outline.min(axis=0) - 2, outline.max(axis=0) + 3)
    if region is None:
        return
    corner, part = region
    height, width = part.shape[:2]
    mask: np.ndarray = np.zeros((height, width), np.uint8)
    points = np.clip((outline - corner) * 16, -30000, 30000).round().astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, 4)
    if soft > 1.5:
        mask = cv2.blur(mask, (2 * round(soft / 2) + 1,) * 2)
    cover = cv2.resize(texture, (width, height), interpolation=cv2.INTER_LINEAR)
    weight = mask[..., None] * np.float32(1 / 255)
    part[:] = part + (cover - part.astype(np.float32)) * weight


def paint_thing(image: np.ndarray, center: np.ndarray, size: float, texture: np.ndarray,
                rng: np.random.Generator) -> None:  # fmt: skip
    """Something that is no face, about ``size`` px large: a patch, an ellipse, a hand or writing."""
    kind = rng.random()
    if kind < 0.3:
        _paint_hand(image, center, size, texture, rng)
    elif kind < 0.4:
        _paint_text(image, center, size, rng)
    else:
        corners = int(rng.choice([4, 4, 24, 5]))
        angles = np.arange(corners) * 2 * math.pi / corners + rng.uniform(0, 2 * math.pi)
        outline = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.25, 0.75, 2) * size
        turn = rng.normal() * 0.6
        matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        soft = rng.choice([0, 1, 3, 0.2 * size], p=[0.4, 0.3, 0.2, 0.1])
        skin = rng.random() < 0.25
        cover = _skin_texture(texture, rng) if skin else _cloth(texture, rng)
        paint_shape(image, outline @ matrix.T + center, cover, float(soft))


def _paint_hand(image: np.ndarray, center: np.ndarray, size: float, texture: np.ndarray,
                rng: np.random.Generator) -> None:  # fmt: skip
    """A palm with fingers and a forearm: capsules of one skin."""
    cover, heading = _skin_texture(texture, rng), rng.uniform(0, 2 * math.pi)
    fist = rng.random() < 0.3
    parts = [(heading + math.pi, 0.1, rng.uniform(0.6, 2.5), 0.17), (heading, -0.15, 0.2, 0.24)]
    for finger in range(4):
        bend = heading + (finger - 1.5) * rng.uniform(0.12, 0.3)
        parts.append((bend, 0.15, rng.uniform(0.1, 0.2) if fist else rng.uniform(0.35, 0.55), 0.065))
    parts.append((heading + rng.choice([-1, 1]) * rng.uniform(0.6, 1.2), 0.1, rng.uniform(0.25, 0.4), 0.075))
    around = np.linspace(-math.pi / 2, 1.5 * math.pi, 16, endpoint=False)
    for angle, first, last, radius in parts:
        along = np.where(np.cos(around) > 0, last, first)
        outline = np.stack([along + radius * np.cos(around), radius * np.sin(around)], 1) * size
        matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        paint_shape(image, outline @ matrix.T + center, cover, 1.0)


def _paint_text(image: np.ndarray, center: np.ndarray, size: float, rng: np.random.Generator) -> None:
    lines, height = int(rng.integers(1, 6)), size * rng.uniform(0.1, 0.4)
    color = tuple(int(c) for c in rng.integers(0, 256, 3))
    font, thickness = _FONTS[rng.integers(len(_FONTS))], max(1, round(height * rng.uniform(0.04, 0.15)))
    for line in range(lines):
        text = "".join(rng.choice(_LETTERS, int(rng.integers(2, 14))))
        origin = (int(center[0] - size / 2), int(center[1] - size / 2 + (line + 1) * 1.4 * height))
        cv2.putText(image, text, origin, font, height / 22, color, thickness, cv2.LINE_AA)


def _cloth(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A texture as it is, or little of it on one colour."""
    if rng.random() < 0.4:
        return texture
    color = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0, 255))
    return np.clip(color + (texture.astype(np.float32) - 128) * rng.uniform(0.02, 0.4), 0, 255).astype(
        np.uint8
    )


def _skin_texture(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    color = np.array([225, 170, 130]) * rng.uniform(0.2, 1.1) * rng.uniform(0.9, 1.1, 3)
    return np.clip(color + (texture.astype(np.float32) - 128) * rng.uniform(0.02, 0.2), 0, 255).astype(
        np.uint8
    )


def _reduced(picture: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smaller copy for places that shrink a lot, so that bilinear sampling does not skip pixels."""
    scale = math.hypot(place[0, 0], place[1, 0])
    if scale > 0.75:
        return picture, place
    size = picture.shape[0]
    small = max(2, round(size * scale * 1.25))
    back = size / small
    place = np.column_stack([place[:, :2] * back, place[:, 2] + place[:, :2].sum(axis=1) * (back - 1) / 2])
    return cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), place


def _region(
    image: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[tuple[int, int], np.ndarray] | None:
    """Upper left corner and view of the part of the image between two points, or None if there is none."""
    left, top = (max(0, math.floor(value)) for value in low)
    right, bottom = (
        min(end, math.ceil(value) + 1) for value, end in zip(high, image.shape[1::-1], strict=True)
    )
    if right <= left or bottom <= top:
        return None
    return (left, top), image[top:bottom, left:right]
