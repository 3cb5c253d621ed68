"""Rendering labelled heads: from (seed, number) to a crop without background and its labels."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from trg_ros.synthetic import raster
from trg_ros.synthetic.appearance import AppearanceSampler, Look
from trg_ros.synthetic.baked import HAIR_CENTER, Baked, load_baked
from trg_ros.synthetic.face_model import FACE_END, METRES_PER_UNIT, MODEL_TO_HEAD, SKIN_END, FaceModel
from trg_ros.synthetic.glasses import draw_glasses
from trg_ros.synthetic.hair import SHELL_TRIANGLES, draw_shell
from trg_ros.synthetic.landmark_set import LandmarkSet, default_landmark_set
from trg_ros.synthetic.lighting import Lighting, draw_lighting
from trg_ros.synthetic.person import (
    Placement,
    PoseRange,
    draw_placement,
    draw_shape,
    draw_size,
    rotation_from_angles,
)

BOX_FACTOR = 1.5
ATTRIBUTES = ("tone", "beard", "mask", "glasses", "sunglasses", "hat", "long_hair", "size")
_NECK_PIVOT = np.array([0.0, -7.0, -1.0])
_SHAPES_AT_ONCE = 16


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


@dataclass
class _Scene:
    """Pieces to draw: pixel-space points, colours, triangles, opacity, back-face culling."""

    points: list[np.ndarray]
    colors: list[np.ndarray]
    triangles: list[np.ndarray]
    opacity: list[np.ndarray]
    cull: list[np.ndarray]
    count: int = 0

    def add(
        self,
        points: np.ndarray,
        colors: np.ndarray,
        triangles: np.ndarray,
        opacity: float = 1.0,
        cull: bool = False,
    ) -> int:
        """Append vertices and triangles; returns the index of the first vertex."""
        first = self.count
        self.points.append(points.astype(np.float32))
        self.colors.append(colors.astype(np.float32))
        self.count += len(points)
        self.draw_again(triangles + first, opacity, cull)
        return first

    def draw_again(self, triangles: np.ndarray, opacity: float, cull: bool = False) -> None:
        """More triangles over vertices that are there already."""
        self.triangles.append(triangles.astype(np.int32))
        self.opacity.append(np.full(len(triangles), opacity, np.float32))
        self.cull.append(np.full(len(triangles), cull, np.int8))


class HeadRenderer:
    """Renders heads of one face model; sample i of seed s is always the same picture.

    :param face_model: path of the packed ICT-FaceKit model.
    """

    def __init__(self, face_model: Path | str, settings: RenderSettings | None = None) -> None:
        self.settings = settings or RenderSettings()
        self.model = FaceModel.load(face_model)
        self.baked: Baked = load_baked(self.model)
        self.landmark_set: LandmarkSet = default_landmark_set()
        self._looks = AppearanceSampler(self.model, self.baked)
        self._origin = self.model.origin
        self._expression = {name: i for i, name in enumerate(self.model.expression_names)}
        self._normals = np.zeros_like(self.model.neutral)

    def heads(self, seed: int, first: int, count: int) -> Iterator[RenderedHead]:
        """Samples first..first+count-1 of a seed. Geometry is computed for several heads at once, which is
        faster."""
        # Blocks start at multiples of their size: sums in a matrix product may depend on the number of rows.
        start = first - first % _SHAPES_AT_ONCE
        for block in range(start, first + count, _SHAPES_AT_ONCE):
            numbers = range(block, block + _SHAPES_AT_ONCE)
            generators = [np.random.default_rng([seed, number]) for number in numbers]
            weights = [draw_shape(self.model, rng) for rng in generators]
            shapes = self.model.shapes(*(np.stack(part) for part in zip(*weights, strict=True)))
            for k, number in enumerate(numbers):
                if first <= number < first + count:
                    yield self._render(shapes[k], weights[k][1], generators[k])

    def _render(self, vertices: np.ndarray, expression: np.ndarray, rng: np.random.Generator) -> RenderedHead:
        placement = draw_placement(self.settings.pose, rng)
        size = draw_size(self.settings.pose, rng)
        vertices = (vertices - self._origin.astype(np.float32)) * np.float32(size) + self._origin.astype(
            np.float32
        )
        landmarks = self.model.to_head_frame(vertices[self.landmark_set.vertices])
        box = _box_of(landmarks[self.landmark_set.landmarks68] @ placement.rotation.T + placement.translation)
        image, attributes = self.picture(vertices, expression, placement, box, self.settings.margin, rng)
        attributes["size"] = size
        return RenderedHead(
            image=image,
            rotation=placement.rotation.astype(np.float32),
            translation=placement.translation.astype(np.float32),
            landmarks_head=landmarks.astype(np.float32),
            box=box.astype(np.float32),
            attributes=np.array([attributes[name] for name in ATTRIBUTES], np.float32),
        )

    def picture(
        self, vertices: np.ndarray, expression: np.ndarray, placement: Placement, box: np.ndarray,
        margin: float, rng: np.random.Generator, side: int | None = None,
    ) -> tuple[np.ndarray, dict[str, float]]:  # fmt: skip
        """Picture (S, S, 4) uint8 premultiplied RGBA of the window of ``margin`` box sides, and the look's
        attributes."""
        side = side or self.settings.crop_side
        look = self._looks.draw(rng)
        self._looks.paint_eyes(vertices, look)
        vertices = self._turn_body(vertices, rng)
        pixels = side * self.settings.supersampling
        scene = _Scene([], [], [], [], [])
        camera = _Camera(placement, self._origin, box, margin, pixels)
        exposure = self._add_all(scene, vertices, expression, look, camera, rng)
        image, coverage = np.zeros((pixels, pixels, 3), np.float32), np.zeros((pixels, pixels), np.float32)
        depth = np.full((pixels, pixels), 1e9, np.float32)
        raster.rasterise(
            np.concatenate(scene.points), np.concatenate(scene.triangles), np.concatenate(scene.colors),
            np.concatenate(scene.opacity), np.concatenate(scene.cull), image, depth, coverage,
        )  # fmt: skip
        return _finish(image, coverage, exposure, side), look.attributes

    def _turn_body(self, vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Twist neck and shoulders against the head: bodies don't follow heads, and must not give the pose
        away."""
        if rng.random() >= 0.85:
            return vertices
        turn = rotation_from_angles(*np.deg2rad([18, 32, 12] * rng.normal(size=3).clip(-1.8, 1.8)))
        skin = vertices[:SKIN_END]
        turned = (skin - _NECK_PIVOT) @ turn.T + _NECK_PIVOT
        out = vertices.copy()
        out[:SKIN_END] = skin + self.baked.body_weight[:, None] * (turned - skin)
        return out

    def _drawn_triangles(self, expression: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Everything but eyelashes; no teeth behind closed lips; sometimes only a head and neck."""
        use = ~self.model.eyelashes
        if rng.random() < 0.12:
            use = use & (self.model.neutral[self.model.triangles[:, 0], 1] > rng.uniform(-16, -8))
        opening = (
            "jawOpen",
            "mouthFunnel",
            "mouthSmile_L",
            "mouthUpperUp_L",
            "mouthLowerDown_L",
            "mouthStretch_L",
        )
        if sum(expression[self._expression[name]] for name in opening) < 0.06:
            use = use & ~self.model.teeth
        return self.model.triangles[use]

    def _add_all(
        self, scene: _Scene, vertices: np.ndarray, expression: np.ndarray, look: Look, camera: "_Camera",
        rng: np.random.Generator,
    ) -> float:  # fmt: skip
        """Head, hair, frames; then what is translucent: eyelashes and lenses. Returns the exposure."""
        triangles = self._drawn_triangles(expression, rng)
        raster.vertex_normals(vertices, triangles, self._normals)
        points = camera.to_camera(vertices)
        light = draw_lighting(camera.rotation, self.baked, rng)
        diffuse, specular = light.shine_on(
            points,
            (self._normals @ camera.rotation.T).astype(np.float32),
            self.baked.openness,
            self.baked.visibility,
        )
        eyeballs = self.model.regions["sclera_left"].start
        specular[FACE_END:eyeballs] *= 0.3
        specular[eyeballs : self.model.regions["iris_right"].stop] *= 2.5
        # Openness was measured with the lips closed; behind open ones there is light.
        teeth = self.model.regions["teeth"]
        diffuse[teeth] = np.maximum(diffuse[teeth], rng.uniform(0.2, 0.9) * diffuse[:FACE_END].mean(axis=0))
        shaded = look.colors * diffuse + specular
        scene.add(camera.to_pixels(points), shaded, triangles, cull=True)
        self._add_hair(scene, vertices, look, light, camera, rng)
        glasses_light = diffuse[:FACE_END].mean(axis=0)
        lenses = self._add_glasses(scene, vertices, look, glasses_light, camera, rng)
        scene.draw_again(self.model.triangles[self.model.eyelashes], rng.uniform(0.1, 0.8))
        if lenses is not None:
            scene.draw_again(*lenses)
        return _exposure(shaded, look, rng)

    def _add_hair(
        self, scene: _Scene, vertices: np.ndarray, look: Look, light: Lighting, camera: "_Camera",
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        shell = draw_shell(vertices, look.hair, self.baked, rng)
        look.attributes |= {"hat": float(shell is not None and shell.kind == "hat")}
        look.attributes |= {"long_hair": float(shell is not None and shell.long)}
        if shell is None:
            return
        normals = np.zeros_like(shell.vertices)
        raster.vertex_normals(shell.vertices, SHELL_TRIANGLES, normals)
        outward = shell.vertices - HAIR_CENTER
        normals *= np.where((outward * normals).sum(axis=1, keepdims=True) < 0, -1, 1)
        points = camera.to_camera(shell.vertices)
        openness = np.full(len(points), 0.75, np.float32)
        diffuse, specular = light.shine_on(points, (normals @ camera.rotation.T).astype(np.float32), openness)
        colors = shell.colors * diffuse + specular * rng.uniform(0, 0.6)
        scene.add(camera.to_pixels(points), colors, SHELL_TRIANGLES)

    def _add_glasses(
        self, scene: _Scene, vertices: np.ndarray, look: Look, light: np.ndarray, camera: "_Camera",
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, float] | None:  # fmt: skip
        """Frames now; returns the lenses' triangles and opacity, to be drawn last."""
        look.attributes |= {"glasses": 0.0, "sunglasses": 0.0}
        if rng.random() >= 0.24:
            return None
        glasses = draw_glasses(vertices, self.model.landmarks68, rng)
        look.attributes |= {"glasses": 1.0, "sunglasses": float(glasses.dark)}
        pixels = camera.to_pixels(camera.to_camera(glasses.vertices))
        scene.add(pixels, glasses.colors * light * rng.uniform(0.6, 1.2), glasses.frame)
        lens = np.tile(glasses.lens_color * light * rng.uniform(0.3, 1), (len(pixels), 1))
        first = scene.add(pixels, lens, np.zeros((0, 3), np.int32))
        if glasses.lens_opacity <= 0.02:
            return None
        return glasses.lenses + first, min(glasses.lens_opacity, 0.999)


class _Camera:
    """Projection of model space into the pixels of one window of the normalised image plane."""

    def __init__(
        self, placement: Placement, origin: np.ndarray, box: np.ndarray, margin: float, pixels: int
    ) -> None:
        self.rotation = placement.rotation @ MODEL_TO_HEAD
        self._translation, self._origin = placement.translation, origin
        self._center, self._window, self._pixels = box[:2], box[2] * margin, pixels

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Model space (V, 3) cm -> camera frame, float32 metres."""
        return ((points - self._origin) * METRES_PER_UNIT @ self.rotation.T + self._translation).astype(
            np.float32
        )

    def to_pixels(self, points_camera: np.ndarray) -> np.ndarray:
        """(V, 3): pixel x, pixel y with the window's corner at (0, 0), depth."""
        depth = points_camera[:, 2:]
        plane = (points_camera[:, :2] / np.maximum(depth, 1e-3) - self._center) / self._window + 0.5
        return np.concatenate([plane * self._pixels, depth], axis=1)


def _box_of(landmarks68_camera: np.ndarray) -> np.ndarray:
    plane = landmarks68_camera[:, :2] / landmarks68_camera[:, 2:]
    low, high = plane.min(axis=0), plane.max(axis=0)
    return np.array([*(low + high) / 2, BOX_FACTOR * (high - low).max()])


def _exposure(shaded: np.ndarray, look: Look, rng: np.random.Generator) -> float:
    """A camera's exposure: aims at a mid tone of the face, but dark skin stays darker than light skin."""
    luminance = np.array([0.3, 0.6, 0.1])
    target = rng.uniform(0.12, 0.55) * (0.35 + 0.65 * float(look.skin @ luminance / 0.75) ** 0.5)
    return target / max(float((shaded[:FACE_END] @ luminance).mean()), 1e-4)


def _finish(image: np.ndarray, coverage: np.ndarray, exposure: float, side: int) -> np.ndarray:
    """Downsample in linear light, expose, gamma; premultiplied RGBA uint8."""
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    coverage = cv2.resize(coverage, (side, side), interpolation=cv2.INTER_AREA)[..., None]
    color = np.clip(image * (exposure / np.maximum(coverage, 1e-3)), 0, 1) ** (1 / 2.2)
    return (np.concatenate([color * coverage, coverage], axis=-1) * 255 + 0.5).astype(np.uint8)
