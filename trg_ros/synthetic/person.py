"""Who is rendered, how they hold their face, and where they are: random draws of shape, expression, pose and
size."""

import math
from dataclasses import dataclass

import numpy as np

from trg_ros.synthetic.face_model import FaceModel

# (name, probability, low, high): strength ~ U(low, high) on both sides of the face, or once for names without
# sides.
_EXPRESSIONS = (
    ("mouthSmile", 0.40, 0.1, 0.9), ("mouthFrown", 0.15, 0.1, 0.7), ("mouthUpperUp", 0.10, 0.1, 0.6),
    ("mouthLowerDown", 0.10, 0.1, 0.6), ("mouthStretch", 0.08, 0.1, 0.6), ("mouthPress", 0.10, 0.1, 0.7),
    ("mouthDimple", 0.10, 0.1, 0.7), ("eyeSquint", 0.25, 0.1, 0.8), ("eyeWide", 0.10, 0.1, 0.8),
    ("browOuterUp", 0.25, 0.1, 0.9), ("browInnerUp", 0.25, 0.1, 0.9), ("browDown", 0.25, 0.1, 0.9),
    ("cheekSquint", 0.20, 0.1, 0.7), ("cheekPuff", 0.10, 0.1, 0.7), ("noseSneer", 0.10, 0.1, 0.6),
    ("mouthPucker", 0.12, 0.1, 0.8), ("mouthFunnel", 0.10, 0.1, 0.6), ("jawForward", 0.08, 0.1, 0.6),
    ("mouthShrugLower", 0.08, 0.1, 0.6), ("mouthRollLower", 0.06, 0.1, 0.6),
    ("mouthRollUpper", 0.06, 0.1, 0.6),
)  # fmt: skip


@dataclass(frozen=True)
class PoseRange:
    """Distributions of head pose and place. Angles in degrees about the ray to the head, lengths in metres.

    A fraction ``*_central`` is normal with ``*_sigma``, the rest uniform within +-``*_limit``. distance is
    log-uniform. offset: standard deviations of x/z and y/z of the head.
    child_fraction of the heads is scaled by U(child_scale), the smaller the more childlike in proportion;
    all are scaled by N(1, size_sigma). A fraction nods_first nods before it turns; the others turn first, so
    that heads in profile are seen from above and below, too, as a low camera sees people.
    """

    yaw_central: float = 0.5
    yaw_sigma: float = 22.0
    yaw_limit: float = 90.0
    pitch_central: float = 0.55
    pitch_sigma: float = 14.0
    pitch_limit: float = 50.0
    roll_central: float = 0.7
    roll_sigma: float = 10.0
    roll_limit: float = 60.0
    nods_first: float = 0.5
    distance: tuple[float, float] = (0.2, 4.0)
    offset: tuple[float, float] = (0.24, 0.16)
    child_fraction: float = 0.05
    child_scale: tuple[float, float] = (0.84, 0.97)
    size_sigma: float = 0.012


@dataclass(frozen=True)
class Placement:
    """rotation: (3, 3) camera_R_head. translation: (3,) metres."""

    rotation: np.ndarray
    translation: np.ndarray


def draw_shape(model: FaceModel, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Identity (100,) and expression (57,) weights of one head."""
    identity = rng.normal(size=len(model.identity)) * rng.uniform(0.6, 1.25)
    weights = dict.fromkeys(model.expression_names, 0.0)
    for name, probability, low, high in _EXPRESSIONS:
        if rng.random() < probability:
            _both(weights, name, rng.uniform(low, high), rng)
    if rng.random() < 0.18:
        _laugh(weights, rng)
    if rng.random() < 0.45:
        weights["jawOpen"] = abs(rng.normal()) * 0.28
    if rng.random() < 0.05:
        weights["jawOpen"] = rng.uniform(0.4, 1)
    for name in ("jaw", "mouth"):
        if rng.random() < 0.2:
            weights[name + ("Left" if rng.random() < 0.5 else "Right")] = rng.uniform(0, 0.4)
    _draw_eyes(weights, rng)
    expression = np.array([weights[name] for name in model.expression_names])
    return identity, np.clip(expression, 0, 1.1)


def _laugh(weights: dict[str, float], rng: np.random.Generator) -> None:
    """The smile for a camera: upper teeth, raised cheeks, narrow eyes."""
    strength = rng.uniform(0.5, 1)
    for name, share in (
        ("mouthSmile", 1.0), ("mouthUpperUp", 0.45), ("cheekSquint", 0.6), ("eyeSquint", 0.5),
        ("mouthLowerDown", 0.3), ("mouthDimple", 0.3),
    ):  # fmt: skip
        _both(weights, name, strength * share * rng.uniform(0.5, 1.2), rng)
    weights["jawOpen"] += strength * rng.uniform(0, 0.25)


def _both(weights: dict[str, float], name: str, strength: float, rng: np.random.Generator) -> None:
    """Set a blendshape, with its two sides a little different where it has sides."""
    if name in weights:
        weights[name] += strength
        return
    for side in ("_L", "_R"):
        weights[name + side] += strength * rng.uniform(0.8, 1.2)


def _draw_eyes(weights: dict[str, float], rng: np.random.Generator) -> None:
    kind = rng.random()
    closed = rng.uniform(0, 0.35) if kind < 0.8 else rng.uniform(0.4, 1) if kind < 0.92 else 1.0
    _both(weights, "eyeBlink", closed, rng)
    sideways, up = rng.normal() * 0.35, rng.normal() * 0.25
    outer, inner = ("L", "R") if sideways > 0 else ("R", "L")
    weights[f"eyeLookOut_{outer}"] = weights[f"eyeLookIn_{inner}"] = abs(sideways)
    _both(weights, "eyeLookUp" if up > 0 else "eyeLookDown", abs(up), rng)


def draw_size(pose: PoseRange, rng: np.random.Generator) -> tuple[float, float]:
    """Scale of the whole head, and how childlike its proportions are (0 adult, 1 toddler). ICT's identities
    already vary as its scanned adults do."""
    scale = 1 + pose.size_sigma * float(np.clip(rng.normal(), -3, 3))
    if rng.random() >= pose.child_fraction:
        return scale, 0.0
    growth = rng.uniform(*pose.child_scale)
    return scale * growth, float(np.clip((1 - growth) / 0.16, 0, 1))


def draw_placement(pose: PoseRange, rng: np.random.Generator) -> Placement:
    """A head pose relative to the ray from the camera to the head, so that it does not depend on where the
    head is."""
    angles = [
        rng.normal() * sigma if rng.random() < central else rng.uniform(-limit, limit)
        for central, sigma, limit in (
            (pose.pitch_central, pose.pitch_sigma, pose.pitch_limit),
            (pose.yaw_central, pose.yaw_sigma, pose.yaw_limit),
            (pose.roll_central, pose.roll_sigma, pose.roll_limit),
        )
    ]
    distance = math.exp(rng.uniform(*np.log(pose.distance)))
    offset = np.clip(rng.normal(0, pose.offset), -0.65, 0.65)
    translation = np.array([*offset, 1.0]) * distance
    ray = translation / np.linalg.norm(translation)
    pitch, yaw, roll = np.deg2rad(angles)
    turn = rotation_from_angles(pitch, yaw, roll)
    if rng.random() >= pose.nods_first:
        turn = rotation_from_angles(pitch, 0.0, roll) @ rotation_from_angles(0.0, yaw, 0.0)
    return Placement(rotation_to_ray(ray) @ turn, translation)


def rotation_from_angles(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Rz(roll) Ry(yaw) Rx(pitch), radians, (3, 3)."""
    cx, sx, cy, sy = math.cos(pitch), math.sin(pitch), math.cos(yaw), math.sin(yaw)
    cz, sz = math.cos(roll), math.sin(roll)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def rotation_to_ray(ray: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes +z to a unit vector with positive z."""
    x, y, z = ray
    cross = np.array([[0, 0, x], [0, 0, y], [-x, -y, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + z)
