"""Training-time augmentation: a rendered head becomes a crop as a sloppy face box would cut it from a bad
photo.

Geometry (labels follow exactly): camera roll about the optical axis, mirroring, box jitter; or the look of a
virtual camera that faces the head and stands upright with it, as trackers and second looks have it. Pixels:
background, occluders, shadow edges, blur, low resolution, motion blur, colour, gamma, contrast, grey and
infrared looks, noise, JPEG. Everything is drawn from the generator that is passed in.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from trg_ros.crop import centered_box
from trg_ros.geometry import shortest_turn
from trg_ros.synthetic.augmentation import pixel_kernels
from trg_ros.synthetic.augmentation.config import AugmentationConfig
from trg_ros.synthetic.augmentation.hair_layers import HairLayers
from trg_ros.synthetic.augmentation.pixel_effects import blur, develop, draw_occluders, place_background
from trg_ros.synthetic.dataset import RenderedSamples

_NEAREST_M, _WIDEST = 0.25, 0.8  # a wrong focal length puts no head nearer, or farther from the axis (x/z)
_MIRROR = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)


@dataclass(frozen=True)
class TrainingBatch:
    """crops: (N, S, S, 3) uint8 RGB. box: (N, 3) centre x, y, side in the normalised image plane. rotation
    (N, 3, 3), translation (N, 3) metres, landmarks_head (N, V, 3) metres: the labels after augmentation.
    occluded: (N,) whether objects or a hand were put into the picture, mostly in front of the face."""

    crops: np.ndarray
    box: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    landmarks_head: np.ndarray
    occluded: np.ndarray


class Augmenter:
    """Turns rendered samples into training crops.

    :param size: side of the crops in pixels.
    :param flip: (V,) landmark on the other side of the face. :param landmarks68: (68,) landmark indices.
    :param backgrounds: (B, H, W, 3) uint8 RGB patches.
    :param settled_scale: side of settled boxes over TRG's, `TRGConfig.second_look_scale`.
    :param hair: what ``hair_probability`` puts over faces; None: nothing.
    :param view: side of a picture over that of the face's box; more than 1 shows what is around it.
    """

    def __init__(
        self,
        size: int,
        flip: np.ndarray,
        landmarks68: np.ndarray,
        backgrounds: np.ndarray,
        config: AugmentationConfig,
        view: float = 1.0,
        settled_scale: float = 1.0,
        hair: HairLayers | None = None,
    ) -> None:
        self.size, self.config, self._settled_scale = size, config, settled_scale
        self._view, self._face = view, size / view
        self._flip, self._landmarks68, self._backgrounds = flip, landmarks68, backgrounds
        self._hair = hair

    def __call__(self, samples: RenderedSamples, rng: np.random.Generator) -> TrainingBatch:
        count = len(samples)
        roll, mirrored = self._draw_roll(count, rng), rng.random(count) < self.config.flip_probability
        settled, tracked = self._draw_looks(count, rng)
        rotation, translation, landmarks = self._mirror_labels(samples, mirrored)
        points68 = landmarks[:, self._landmarks68] @ rotation.transpose(0, 2, 1) + translation[:, None]
        turn = _roll_matrices(roll)
        if (upright := settled | tracked).any():
            noise = np.deg2rad(rng.normal(0, self.config.settled_roll_sigma_degrees, count))
            facing = _roll_matrices(noise) @ _facing_upright(_trg_boxes(points68)[:, :2], rotation)
            turn = np.where(upright[:, None, None], facing, turn)
        rotation, translation = turn @ rotation, np.einsum("nij,nj->ni", turn, translation)
        points68 = points68 @ turn.transpose(0, 2, 1)
        box = self._jitter(_trg_boxes(points68), settled, tracked, rng)
        box[:, 2] *= self._view
        marks = self._under_hair(points68, rotation, box, rng)
        maps = self._head_maps(samples, box, turn, mirrored)
        crops = np.empty((count, self.size, self.size, 3), np.uint8)
        occluded = np.zeros(count, bool)
        for i in range(count):
            crops[i], occluded[i] = self._picture(samples.images[i], maps[i], marks[i], rng)
        box, rotation, translation = self._miscalibrate(box, rotation, translation, rng)
        return TrainingBatch(crops, box, rotation, translation, landmarks, occluded)

    def _miscalibrate(
        self, box: np.ndarray, rotation: np.ndarray, translation: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes and poses as a camera with a wrong focal length sees them: angles grow, heads are as large as
        ever and therefore nearer, and stand to the ray to them as they did."""
        c = self.config
        if c.focal_error_probability <= 0:
            return box, rotation, translation
        count, reach = len(box), np.abs(box[:, :2]).max(axis=1)
        low, high = np.log(c.focal_error)
        factor = np.exp(rng.uniform(low, high, count))
        limit = np.minimum(translation[:, 2] / _NEAREST_M, _WIDEST / np.maximum(reach, 1e-6))
        factor = np.where(rng.random(count) < c.focal_error_probability, np.minimum(factor, limit), 1.0)
        factor = np.where(limit < 1, 1.0, factor).astype(np.float32)
        moved = translation.copy()
        moved[:, 2] /= factor
        turn = _turn_to(moved) @ _turn_to(translation).transpose(0, 2, 1)
        return box * factor[:, None], (turn @ rotation).astype(np.float32), moved

    def _draw_roll(self, count: int, rng: np.random.Generator) -> np.ndarray:
        c = self.config
        kind = rng.random(count)
        narrow = rng.uniform(-c.roll_degrees, c.roll_degrees, count)
        wide = rng.uniform(-c.wide_roll_degrees, c.wide_roll_degrees, count)
        degrees = np.where(kind < c.wide_roll_probability, wide, narrow)
        return np.deg2rad(np.where(kind < c.wide_roll_probability + c.roll_probability, degrees, 0.0))

    def _mirror_labels(
        self, samples: RenderedSamples, mirrored: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Camera x -> -x, landmarks swapped, for those that are mirrored."""
        flipped = mirrored[:, None, None]
        rotation = np.where(flipped, _MIRROR @ samples.rotation @ _MIRROR, samples.rotation)
        translation = np.where(mirrored[:, None], samples.translation @ _MIRROR, samples.translation)
        swapped = samples.landmarks_head[:, self._flip] @ _MIRROR
        landmarks = np.where(flipped, swapped, samples.landmarks_head)
        return rotation.astype(np.float32), translation.astype(np.float32), landmarks.astype(np.float32)

    def _draw_looks(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which crops (N,) are cut as second looks cut them, and which as trackers do; a detector cuts the
        others."""
        second, tracked = self.config.settled_probability, self.config.tracked_probability
        if second + tracked <= 0:
            return np.zeros(count, bool), np.zeros(count, bool)
        kind = rng.random(count)
        return kind < second, (kind >= second) & (kind < second + tracked)

    def _jitter(
        self, box: np.ndarray, settled: np.ndarray, tracked: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Boxes as second looks (small errors), trackers and a face detector (large ones) give them."""
        c, count = self.config, len(box)
        reach = np.where(
            rng.random(count) < 0.15, c.wide_center_jitter, c.center_jitter * rng.random(count) ** 0.5
        )
        looks = [settled, tracked]
        reach = np.select(looks, [c.settled_center_jitter, c.tracked_center_jitter], reach)
        sigma = np.select(looks, [c.settled_scale_sigma, c.tracked_scale_sigma], c.scale_sigma)
        shift = rng.uniform(-1, 1, (count, 2)) * reach[:, None]
        scale = np.exp(sigma * np.clip(rng.normal(0, 1, count), -2.5, 2.5))
        scale *= np.where(settled, self._settled_scale, 1.0)
        center = box[:, :2] + shift * box[:, 2:]
        return np.concatenate([center, box[:, 2:] * scale[:, None]], axis=1).astype(np.float32)

    def _head_maps(
        self, samples: RenderedSamples, box: np.ndarray, turn: np.ndarray, mirrored: np.ndarray
    ) -> np.ndarray:
        """(N, 3, 3) homographies from crop pixels to pixels of the stored picture: crop -> ray -> turned back
        -> unmirrored -> stored plane."""
        count, size = len(box), np.array([len(image) for image in samples.images])
        pixels_per_unit = size / (samples.margin * samples.box[:, 2])
        ray_of_crop = np.zeros((count, 3, 3))
        ray_of_crop[:, 0, 0] = ray_of_crop[:, 1, 1] = box[:, 2] / (self.size - 1)
        ray_of_crop[:, :2, 2] = box[:, :2] - box[:, 2:] / 2
        ray_of_crop[:, 2, 2] = 1
        stored_of_ray = np.zeros((count, 3, 3))
        stored_of_ray[:, 0, 0] = stored_of_ray[:, 1, 1] = pixels_per_unit
        stored_of_ray[:, :2, 2] = (size / 2 - 0.5)[:, None] - samples.box[:, :2] * pixels_per_unit[:, None]
        stored_of_ray[:, 2, 2] = 1
        back = np.where(mirrored[:, None, None], _MIRROR, np.eye(3)) @ turn.transpose(0, 2, 1)
        return (stored_of_ray @ back @ ray_of_crop).astype(np.float32)

    def _under_hair(
        self, points68: np.ndarray, rotation: np.ndarray, box: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray | None]:
        """For each face that gets hair its 68 landmarks (68, 2) in the crop, px; None for the others."""
        count = len(box)
        if self._hair is None or self.config.hair_probability <= 0:
            return [None] * count
        chosen = self._hair.fits(rotation) & (rng.random(count) < self.config.hair_probability)
        plane = points68[..., :2] / points68[..., 2:]
        pixels = ((plane - box[:, None, :2]) / box[:, None, 2:] + 0.5) * (self.size - 1)
        return [pixels[i] if chosen[i] else None for i in range(count)]

    def _strength(self, rng: np.random.Generator) -> float:
        """Of one picture's pixel effects."""
        c = self.config
        clear = c.clear_probability > 0 and rng.random() < c.clear_probability
        return c.photometric * (c.clear_photometric if clear else 1.0)

    def _picture(
        self, head: np.ndarray, head_map: np.ndarray, marks: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, bool]:
        """A crop, and whether something was put in front.

        :param marks: (68, 2) landmarks in the crop, if hair is to fall over them.
        """
        image = np.empty((self.size, self.size, 3), np.float32)
        background = self._backgrounds[rng.integers(len(self._backgrounds))]
        gain = (rng.uniform(0.4, 1.2) * rng.uniform(0.92, 1.08, 3)).astype(np.float32)
        shrink = _shrink(head_map, self.size)
        background_map = place_background(background.shape[0], self.size, rng)
        pixel_kernels.composite(
            head, head_map, background, background_map, gain, 2 if shrink > 1.25 else 1, image
        )
        if marks is not None and self._hair is not None:
            self._hair.paint(image, marks, rng)
        strength = self._strength(rng)
        if strength <= 0:
            return np.clip(image + 0.5, 0, 255).astype(np.uint8), False
        occluded = bool(rng.random() < 0.28 * strength)
        if occluded:
            texture = self._backgrounds[rng.integers(len(self._backgrounds))]
            rows = draw_occluders(self._face, self.size / 2, texture.shape[0], rng)
            pixel_kernels.occlude(image, rows, texture)
        if rng.random() < 0.25 * strength:
            angle = rng.uniform(0, 2 * math.pi)
            pixel_kernels.light_gradient(
                image,
                math.cos(angle),
                math.sin(angle),
                rng.normal() * 0.2,
                rng.uniform(2, 30),
                rng.uniform(0.1, 0.6),
            )
        image = blur(image, self._face, strength, rng)
        out = develop(image, strength, rng)
        if rng.random() < 0.25 * strength:
            encoded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(20, 90))])[1]
            out = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
        return out, occluded


def _trg_boxes(landmarks68_camera: np.ndarray) -> np.ndarray:
    """TRG's boxes (N, 3) in the normalised plane around the 68 points (N, 68, 3) in the camera frame."""
    return centered_box(landmarks68_camera[..., :2] / landmarks68_camera[..., 2:]).astype(np.float32)


def _turn_to(points: np.ndarray) -> np.ndarray:
    """(N, 3, 3) the shortest rotations that take the z axis to points (N, 3)."""
    return shortest_turn(points / np.linalg.norm(points, axis=1, keepdims=True))


def _facing_upright(center: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """virtual_R_camera (N, 3, 3): z towards points (N, 2) of the normalised plane, -y as near as can be to
    the up of heads with a camera_R_head (N, 3, 3); to the camera's own where that points along the ray."""
    z = np.concatenate([center, np.ones_like(center[:, :1])], axis=1)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    down = rotation[:, :, 1] - (rotation[:, :, 1] * z).sum(1, keepdims=True) * z
    own = np.array([0, 1, 0]) - z[:, 1:2] * z
    y = np.where(np.linalg.norm(down, axis=1, keepdims=True) > 0.1, down, own)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    return np.stack([np.cross(y, z, axis=1), y, z], axis=1).astype(np.float32)


def _shrink(head_map: np.ndarray, size: int) -> float:
    """Stored pixels per crop pixel in the crop's middle, of a homography (3, 3)."""
    middle = (size - 1) / 2
    here, right = (head_map @ (x, middle, 1.0) for x in (middle, middle + 1))
    return math.dist(right[:2] / right[2], here[:2] / here[2])


def _roll_matrices(roll: np.ndarray) -> np.ndarray:
    matrices = np.zeros((len(roll), 3, 3), np.float32)
    cosine, sine = np.cos(roll), np.sin(roll)
    matrices[:, 0, 0], matrices[:, 0, 1] = cosine, -sine
    matrices[:, 1, 0], matrices[:, 1, 1], matrices[:, 2, 2] = sine, cosine, 1
    return matrices
