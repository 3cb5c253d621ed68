"""Rendering labelled heads: from (seed, number) to a crop without background and its labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from trg_ros.crop import centered_box
from trg_ros.synthetic.baked import Baked, load_baked
from trg_ros.synthetic.childhood import childlike_offsets
from trg_ros.synthetic.cpu_painter import CpuPainter
from trg_ros.synthetic.face_model import FaceModel
from trg_ros.synthetic.head_frame import rigid_reference, scan_R_head
from trg_ros.synthetic.landmark_set import LandmarkSet, default_landmark_set
from trg_ros.synthetic.person import Placement, PoseRange, draw_placement, draw_shape, draw_size
from trg_ros.synthetic.plan import HeadPlan, Planner

ATTRIBUTES = ("tone", "beard", "mask", "glasses", "sunglasses", "hat", "long_hair", "size")
_HEADS_AT_ONCE = 16


@dataclass(frozen=True)
class RenderSettings:
    """crop_side: pixels of the stored picture. margin: its window in box sides. supersampling: per axis."""

    crop_side: int = 208
    margin: float = 1.7
    supersampling: int = 2
    pose: PoseRange = field(default_factory=PoseRange)


@dataclass(frozen=True)
class RenderedHead:
    """image: (S, S, 4) uint8 premultiplied RGBA. rotation (3, 3) camera_R_head, translation (3,) m,
    landmarks_head (V, 3) m, box (3,) [centre x, centre y, side] in the normalised image plane, attributes:
    values of ATTRIBUTES."""

    image: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    landmarks_head: np.ndarray
    box: np.ndarray
    attributes: np.ndarray


class Painter(Protocol):
    """A back end: plans in, pictures out; nothing is random in it."""

    def paint(self, plans: Sequence[HeadPlan], side: int) -> np.ndarray:
        """(N, side, side, 4) uint8, RGB premultiplied by the coverage in channel 3, of plans whose cameras
        have one number of pixels, a multiple of the side."""


class HeadRenderer:
    """Renders heads of one face model; sample i of seed s is always the same picture.

    :param face_model: path of the packed ICT-FaceKit model.
    :param device: what paints: "cpu", "cuda", "cuda:N" or "auto". On all of them a sample is the same
        picture, up to rounding.
    :raises DeviceError: for a GPU that isn't there or can't be used.
    """

    def __init__(
        self, face_model: Path | str, settings: RenderSettings | None = None, device: str = "cpu"
    ) -> None:
        self.settings = settings or RenderSettings()
        device = _existing(device)
        self.model = FaceModel.load(face_model)
        self.baked: Baked = load_baked(self.model)
        self.landmark_set: LandmarkSet = default_landmark_set()
        self._childlike_offsets = childlike_offsets(self.model)
        self._origin = self.model.origin
        self.rigid_reference = rigid_reference(self.model)
        self._planner = Planner(self.model, self.baked)
        self.painter = _painter(self.model, self.baked, device)

    def heads(self, seed: int, first: int, count: int) -> Iterator[RenderedHead]:
        """Samples first..first+count-1 of a seed. Several heads are computed at once, which is faster."""
        # Blocks start at multiples of their size: sums in a matrix product may depend on the number of rows.
        start = first - first % _HEADS_AT_ONCE
        for block in range(start, first + count, _HEADS_AT_ONCE):
            numbers = range(block, block + _HEADS_AT_ONCE)
            generators = [np.random.default_rng([seed, number]) for number in numbers]
            weights = [draw_shape(self.model, rng) for rng in generators]
            shapes = self.model.shapes(*(np.stack(part) for part in zip(*weights, strict=True)))
            heads = [
                self._draw(shapes[k], weights[k][1], generators[k])
                for k, number in enumerate(numbers)
                if first <= number < first + count
            ]
            images = self.painter.paint([head.plan for head in heads], self.settings.crop_side)
            for head, image in zip(heads, images, strict=True):
                yield head.rendered(image)

    def _draw(self, vertices: np.ndarray, expression: np.ndarray, rng: np.random.Generator) -> "_DrawnHead":
        placement = draw_placement(self.settings.pose, rng)
        size, childlike = draw_size(self.settings.pose, rng)
        if childlike:
            vertices = vertices + np.float32(childlike) * self._childlike_offsets
        origin = self._origin.astype(np.float32)
        vertices = (vertices - origin) * np.float32(size) + origin
        landmarks = self.model.to_head_frame(vertices[self.landmark_set.vertices])
        points68 = landmarks[self.landmark_set.landmarks68]
        camera = points68 @ placement.rotation.T + placement.translation
        box = centered_box(camera[:, :2] / camera[:, 2:])
        pixels = self.settings.crop_side * self.settings.supersampling
        plan = self._planner.draw(vertices, expression, placement, box, self.settings.margin, pixels, rng)
        plan.look.attributes["size"] = size
        turn = scan_R_head(points68, self.rigid_reference)
        turned = Placement(placement.rotation @ turn, placement.translation)
        return _DrawnHead(plan, turned, landmarks @ turn, box)

    def picture(
        self, vertices: np.ndarray, expression: np.ndarray, placement: Placement, box: np.ndarray,
        margin: float, rng: np.random.Generator, side: int | None = None,
    ) -> tuple[np.ndarray, dict[str, float]]:  # fmt: skip
        """Picture (S, S, 4) uint8 premultiplied RGBA of the window of ``margin`` box sides, and the look's
        attributes."""
        side = side or self.settings.crop_side
        pixels = side * self.settings.supersampling
        plan = self._planner.draw(vertices, expression, placement, box, margin, pixels, rng)
        return self.painter.paint([plan], side)[0], plan.look.attributes


@dataclass(frozen=True, eq=False)
class _DrawnHead:
    """A head before it is painted. placement: of the head frame. landmarks: (V, 3) m in it. box: (3,)."""

    plan: HeadPlan
    placement: Placement
    landmarks: np.ndarray
    box: np.ndarray

    def rendered(self, image: np.ndarray) -> RenderedHead:
        attributes = self.plan.look.attributes
        return RenderedHead(
            image=image,
            rotation=self.placement.rotation.astype(np.float32),
            translation=self.placement.translation.astype(np.float32),
            landmarks_head=self.landmarks.astype(np.float32),
            box=self.box.astype(np.float32),
            attributes=np.array([attributes[name] for name in ATTRIBUTES], np.float32),
        )


def _existing(device: str) -> str:
    """Either "cpu" or "cuda:N"; nothing about GPUs is imported for the CPU."""
    if device == "cpu":
        return device
    from trg_ros.backends.selection import resolve_device

    return resolve_device(device)


def _painter(model: FaceModel, baked: Baked, device: str) -> Painter:
    if device == "cpu":
        return CpuPainter(model, baked)
    import torch

    from trg_ros.synthetic.cuda_painter import CudaPainter

    return CudaPainter(model, baked, torch.device(device))
