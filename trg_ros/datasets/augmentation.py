"""The paper's augmentation of photographs: pictures and labels change together, exactly.

Everything geometric happens on the normalised image plane, so any lens and fx != fy stay exact, and in one
resampling of the original picture: the camera rolls about its optical axis, or is mirrored, and the crop is
cut anew.

TRG's release turns the picture about the projected head centre and leaves the translation alone; no pinhole
camera sees that of a head off the axis (the labels would be wrong by several pixels). It sees a roll.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import LANDMARK_BOX_SCALE, centered_box
from trg_ros.crop.resampling import sample_map
from trg_ros.datasets.sample import Sample
from trg_ros.datasets.symmetry import FLIP68
from trg_ros.errors import InputError

Array = NDArray[np.float64]
Flip = NDArray[np.int64]

_MIRROR: Array = np.diag([-1.0, 1.0, 1.0])
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Recipe:
    """The augmentation of the paper and its release.

    center_jitter, size_jitter  of the box: parts of the 68 landmarks' larger extent, and of the box's side.
    colour                      largest change of brightness, contrast, saturation (factors) and hue (turns).
    patch_side                  side of the patch of random colour over the crop's.
    """

    roll_probability: float = 0.3
    roll_degrees: float = 30.0
    flip_probability: float = 0.5
    center_jitter: float = 0.15
    size_jitter: float = 0.05
    colour: tuple[float, float, float, float] = (0.3, 0.3, 0.2, 0.01)
    patch_probability: float = 0.15
    patch_side: float = 0.2


@dataclass(frozen=True)
class View:
    """How the camera of the augmented picture differs from the real one, and how the box is off.

    roll_rad  angle by which the content turns, clockwise as seen (from x to y), about the optical axis.
    mirrored  whether the picture is mirrored left to right, before it turns.
    shift     of the box's centre, in parts of its side; scale of its side.
    """

    roll_rad: float = 0.0
    mirrored: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0

    @property
    def rotation(self) -> Array:
        """(3, 3) about the optical axis."""
        cosine, sine = np.cos(self.roll_rad), np.sin(self.roll_rad)
        return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])

    def to_original(self, plane: Array) -> Array:
        """Points (..., 2) of the augmented camera's normalised plane on the real one's."""
        turned_back = plane @ self.rotation[:2, :2]
        return turned_back * (-1, 1) if self.mirrored else turned_back

    def from_original(self, plane: Array) -> Array:
        """The inverse of `to_original`."""
        return (plane * (-1, 1) if self.mirrored else plane) @ self.rotation[:2, :2].T


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """One crop with its labels, in the camera of the augmented picture. Metres; the normalised image plane.

    crop_rgb          (S, S, 3) uint8.
    box               (3,) centre x, centre y and side on the normalised plane.
    camera_T_head     (4, 4), and landmarks_head (V, 3): None where they are not known.
    landmarks68_crop  (68, 2) x, y in [-1, 1] over the crop.
    focal             pixels per unit of the normalised plane.
    """

    crop_rgb: NDArray[np.uint8]
    box: Array
    camera_T_head: Array | None
    landmarks_head: Array | None
    landmarks68_crop: Array
    focal: float


def draw_view(recipe: Recipe, rng: np.random.Generator, may_mirror: bool) -> View:
    """A random view. :param may_mirror: whether it is known which landmark is which in a mirror."""
    rolls, mirrored = rng.random() < recipe.roll_probability, rng.random() < recipe.flip_probability
    angle = np.deg2rad(recipe.roll_degrees) * rng.uniform(-1, 1)
    x, y = recipe.center_jitter / LANDMARK_BOX_SCALE * rng.uniform(-1, 1, 2)
    scale = 1 + recipe.size_jitter * rng.uniform(-1, 1)
    return View(
        float(angle) if rolls else 0.0, bool(mirrored and may_mirror), (float(x), float(y)), float(scale)
    )


def augment(
    sample: Sample, flip: Flip | None, size: int, recipe: Recipe, rng: np.random.Generator
) -> TrainingSample:
    """A random training crop of `size` px.

    :param flip: (V,) the dense landmarks' mirror index; without it they are never mirrored.
    :raises InputError: for a sample without the 68 landmarks.
    """
    may_mirror = sample.landmarks_head is None or flip is not None
    view = draw_view(recipe, rng, may_mirror)
    result = view_sample(sample, flip, size, view)
    spoil(result.crop_rgb, recipe, rng)
    return result


def view_sample(sample: Sample, flip: Flip | None, size: int, view: View) -> TrainingSample:
    """The crop and the labels of a sample as another camera sees them. :raises InputError: see `augment`."""
    pose, landmarks_head = _move_labels(sample, flip, view)
    landmarks68 = _landmarks68_plane(sample, view)
    exact = centered_box(landmarks68)
    center, side = exact[:2] + exact[2] * np.array(view.shift), float(exact[2]) * view.scale
    box = np.array([*center, side])
    return TrainingSample(
        crop_rgb=cut_view(sample.load_image(), sample.camera, box, size, view)[..., ::-1].copy(),
        box=box,
        camera_T_head=pose,
        landmarks_head=landmarks_head,
        landmarks68_crop=2 * (landmarks68 - center) / side,
        focal=(sample.camera.fx + sample.camera.fy) / 2,
    )


def cut_view(
    image: NDArray[np.uint8], camera: CameraModel, box: Array, size: int, view: View
) -> NDArray[np.uint8]:
    """A crop (size, size, 3) of the window `box` (3,) on the augmented camera's plane, in BGR."""
    steps = np.linspace(-0.5, 0.5, size)
    plane = view.to_original(box[:2] + box[2] * np.stack(np.meshgrid(steps, steps), axis=-1))
    pixels = camera.project(np.concatenate([plane, np.ones((size, size, 1))], axis=-1))
    crop = np.empty((size, size, 3), np.uint8)
    sample_map(image, pixels[..., 0], pixels[..., 1], out=crop)
    return crop


def spoil(crop_rgb: NDArray[np.uint8], recipe: Recipe, rng: np.random.Generator) -> None:
    """Colour jitter, in random order, and a patch of random colour, in place."""
    crop_rgb[:] = jitter_colour(crop_rgb, recipe.colour, rng)
    if rng.random() < recipe.patch_probability:
        side = max(1, round(recipe.patch_side * len(crop_rgb)))
        row, column = rng.integers(0, len(crop_rgb) - side + 1, 2)
        crop_rgb[row : row + side, column : column + side] = rng.integers(0, 256, 3)


def jitter_colour(
    rgb: NDArray[np.uint8], strengths: tuple[float, float, float, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Brightness, contrast and saturation times 1 +- strength, hue turned by +- strength of a full circle."""
    image: NDArray[Any] = rgb.astype(np.float32) / 255
    factors = 1 + np.array(strengths[:3]) * rng.uniform(-1, 1, 3)
    turn = strengths[3] * rng.uniform(-1, 1)
    for step in rng.permutation(4):
        if step == 3:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        elif strengths[step] > 0:
            grey = (image @ _LUMINANCE)[..., None]
            anchor = (np.float32(0), grey.mean(), grey)[step]
            image = np.clip(anchor + np.float32(factors[step]) * (image - anchor), 0, 1)
    return np.clip(255 * image + 0.5, 0, 255).astype(np.uint8)


def _move_labels(sample: Sample, flip: Flip | None, view: View) -> tuple[Array | None, Array | None]:
    """camera_T_head and landmarks_head of the augmented picture: mirrored in both frames, then rolled."""
    pose, landmarks_head = sample.camera_T_head, sample.landmarks_head
    if pose is None:
        return None, None
    pose = pose.copy()
    if view.mirrored:
        pose[:3, :3] = _MIRROR @ pose[:3, :3] @ _MIRROR
        pose[:3, 3] = _MIRROR @ pose[:3, 3]
        if landmarks_head is not None:
            if flip is None:
                raise InputError(
                    f"{sample.name}: these landmarks can't be mirrored, there is no mirror index"
                )
            landmarks_head = np.asarray(landmarks_head[flip] @ _MIRROR, np.float64)
    pose[:3] = view.rotation @ pose[:3]
    return pose, landmarks_head


def _landmarks68_plane(sample: Sample, view: View) -> Array:
    """(68, 2) on the augmented camera's plane."""
    if sample.landmarks68_image is None:
        raise InputError(f"{sample.name} has no 68 landmarks: it can be tested on, but not trained on")
    plane = view.from_original(sample.camera.unproject(sample.landmarks68_image))
    return plane[FLIP68] if view.mirrored else plane
