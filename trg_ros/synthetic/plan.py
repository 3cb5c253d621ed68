"""What a picture will show, before it is painted: every random draw of a head, made on the CPU.

A back end turns a plan into pixels without drawing anything, so that sample i of seed s is the same picture,
up to rounding, whichever back end paints it.
"""

from dataclasses import dataclass

import numpy as np

from trg_ros.synthetic.appearance import AppearanceSampler, Look
from trg_ros.synthetic.baked import Baked
from trg_ros.synthetic.face_model import METRES_PER_UNIT, MODEL_TO_HEAD, SKIN_END, FaceModel
from trg_ros.synthetic.glasses import Glasses, draw_glasses
from trg_ros.synthetic.hair import Shell, draw_shell
from trg_ros.synthetic.lighting import Lighting, draw_lighting
from trg_ros.synthetic.person import Placement, rotation_from_angles
from trg_ros.synthetic.shading import LUMINANCE

MIN_LENS_OPACITY, MAX_LENS_OPACITY = 0.02, 0.999
_NECK_PIVOT = np.array([0.0, -7.0, -1.0])
_OPENING = (
    "jawOpen", "mouthFunnel", "mouthSmile_L", "mouthUpperUp_L", "mouthLowerDown_L", "mouthStretch_L",
)  # fmt: skip


class WindowCamera:
    """Projection of model space into the pixels of one window of the normalised image plane.

    rotation: (3, 3) camera_R_model. translation: (3,) metres. origin: (3,) of the head frame, model space.
    center: (2,) and window: middle and side of the window in the plane. pixels: its side in pixels.
    """

    def __init__(
        self, placement: Placement, origin: np.ndarray, box: np.ndarray, margin: float, pixels: int
    ) -> None:
        self.rotation = placement.rotation @ MODEL_TO_HEAD
        self.translation, self.origin = placement.translation, origin
        self.center, self.window, self.pixels = box[:2], box[2] * margin, pixels

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Model space (V, 3) cm -> camera frame, float32 metres."""
        metres = (points - self.origin) * METRES_PER_UNIT
        return (metres @ self.rotation.T + self.translation).astype(np.float32)

    def to_pixels(self, points_camera: np.ndarray) -> np.ndarray:
        """(V, 3): pixel x, pixel y with the window's corner at (0, 0), depth."""
        depth = points_camera[:, 2:]
        plane = (points_camera[:, :2] / np.maximum(depth, 1e-3) - self.center) / self.window + 0.5
        return np.concatenate([plane * self.pixels, depth], axis=1)


@dataclass(frozen=True, eq=False)
class HeadPlan:
    """One head, ready to be painted.

    vertices: (V, 3) float32 model space, neck and shoulders turned. drawn: (T,) bool, the model's triangles
    that are seen and opaque. teeth_light: least light on the teeth, in parts of the face's mean.
    shell_gloss, frame_light, lens_light: factors of what lights hair, frames and lenses. eyelash_opacity:
    0..1. exposure_target: what the face's mean luminance becomes.
    """

    vertices: np.ndarray
    drawn: np.ndarray
    look: Look
    camera: WindowCamera
    light: Lighting
    teeth_light: float
    shell: Shell | None
    shell_gloss: float
    glasses: Glasses | None
    frame_light: float
    lens_light: float
    eyelash_opacity: float
    exposure_target: float

    @property
    def lens_opacity(self) -> float:
        """0..1; 0 when no lens is drawn."""
        if self.glasses is None or self.glasses.lens_opacity <= MIN_LENS_OPACITY:
            return 0.0
        return min(self.glasses.lens_opacity, MAX_LENS_OPACITY)


class Planner:
    """Draws plans for heads of one face model."""

    def __init__(self, model: FaceModel, baked: Baked) -> None:
        self._model, self._baked = model, baked
        self._looks = AppearanceSampler(model, baked)
        self._opening = [model.expression_names.index(name) for name in _OPENING]

    def draw(
        self, vertices: np.ndarray, expression: np.ndarray, placement: Placement, box: np.ndarray,
        margin: float, pixels: int, rng: np.random.Generator,
    ) -> HeadPlan:  # fmt: skip
        """The plan of a head with (V, 3) vertices and (57,) expression weights, in the window of ``margin``
        box sides."""
        look = self._looks.draw(rng)
        self._looks.paint_eyes(vertices, look)
        vertices = self._turn_body(vertices, rng)
        camera = WindowCamera(placement, self._model.origin, box, margin, pixels)
        drawn = self._drawn(expression, rng)
        light = draw_lighting(camera.rotation, self._baked, rng)
        teeth_light = rng.uniform(0.2, 0.9)
        shell = draw_shell(vertices, look.hair, self._baked, rng)
        shell_gloss = rng.uniform(0, 0.6) if shell is not None else 0.0
        glasses, frame_light, lens_light = self._glasses(vertices, rng)
        look.attributes |= {
            "hat": float(shell is not None and shell.kind == "hat"),
            "long_hair": float(shell is not None and shell.long),
            "glasses": float(glasses is not None),
            "sunglasses": float(glasses is not None and glasses.dark),
        }
        eyelash_opacity, exposure_target = rng.uniform(0.1, 0.8), _exposure_target(look, rng)
        return HeadPlan(
            vertices, drawn, look, camera, light, teeth_light, shell, shell_gloss, glasses, frame_light,
            lens_light, eyelash_opacity, exposure_target,
        )  # fmt: skip

    def _turn_body(self, vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Twist neck and shoulders against the head: bodies don't follow heads, and must not give the pose
        away."""
        if rng.random() >= 0.85:
            return vertices
        turn = rotation_from_angles(*np.deg2rad([18, 32, 12] * rng.normal(size=3).clip(-1.8, 1.8)))
        skin = vertices[:SKIN_END]
        turned = (skin - _NECK_PIVOT) @ turn.T + _NECK_PIVOT
        out = vertices.copy()
        out[:SKIN_END] = skin + self._baked.body_weight[:, None] * (turned - skin)
        return out

    def _drawn(self, expression: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Everything but eyelashes; no teeth behind closed lips; sometimes only a head and neck."""
        use = ~self._model.eyelashes
        if rng.random() < 0.12:
            use &= self._model.neutral[self._model.triangles[:, 0], 1] > rng.uniform(-16, -8)
        if sum(expression[index] for index in self._opening) < 0.06:
            use &= ~self._model.teeth
        return use

    def _glasses(self, vertices: np.ndarray, rng: np.random.Generator) -> tuple[Glasses | None, float, float]:
        if rng.random() >= 0.24:
            return None, 0.0, 0.0
        glasses = draw_glasses(vertices, self._model.landmarks68, rng)
        return glasses, rng.uniform(0.6, 1.2), rng.uniform(0.3, 1)


def _exposure_target(look: Look, rng: np.random.Generator) -> float:
    """A camera's exposure aims at a mid tone of the face, but dark skin stays darker than light skin."""
    return rng.uniform(0.12, 0.55) * (0.35 + 0.65 * float(look.skin @ LUMINANCE / 0.75) ** 0.5)
