"""Glasses: two superellipse rims with a bridge and temples, and flat lenses without refraction, clear or
dark."""

from dataclasses import dataclass

import numpy as np

from trg_ros.synthetic.appearance import linear

_CORNERS = 26
_STRIP = np.array([[0, 1, 2], [1, 3, 2]])


@dataclass(frozen=True)
class Glasses:
    """vertices (N, 3) model space, colors (N, 3) linear RGB, frame and lens triangles; lens opacity and
    colour."""

    vertices: np.ndarray
    colors: np.ndarray
    frame: np.ndarray
    lenses: np.ndarray
    lens_opacity: float
    lens_color: np.ndarray
    dark: bool


@dataclass(frozen=True)
class _Style:
    """What glasses look like, centimetres in model space.

    half_width, half_height: of a rim, whose outline is a superellipse of this power. rim: its width.
    curve: how the front bends back, z = front - curve x^2. color: (3,) linear RGB. center_y: of the rims.
    """

    half_width: float
    half_height: float
    power: float
    rim: float
    curve: float
    color: np.ndarray
    front: float
    center_y: float


class _Builder:
    def __init__(self) -> None:
        self.vertices: list[np.ndarray] = []
        self.colors: list[np.ndarray] = []
        self.frame: list[np.ndarray] = []
        self.count = 0

    def add(self, vertices: np.ndarray, color: np.ndarray, triangles: np.ndarray) -> int:
        """Append a piece; returns the index of its first vertex."""
        first = self.count
        self.vertices.append(vertices)
        self.colors.append(np.tile(color, (len(vertices), 1)))
        self.frame.append(triangles + first)
        self.count += len(vertices)
        return first


def draw_glasses(vertices: np.ndarray, landmarks68: np.ndarray, rng: np.random.Generator) -> Glasses:
    """Glasses that sit before the eyes of the given head, (V, 3) model space."""
    points = vertices[landmarks68].astype(np.float64)
    style = _draw_style(points, rng)
    dark = rng.random() < 0.25
    opacity = rng.uniform(0.6, 1.0) if dark else rng.uniform(0.0, 0.15)
    lens_color = linear(rng.uniform(0, 60, 3)) if dark else linear(rng.uniform(120, 255, 3))
    builder = _Builder()
    lenses = [
        _add_side(builder, style, side, points[eye, 0].mean(), rng)
        for side, eye in ((-1, slice(36, 42)), (1, slice(42, 48)))
    ]
    height = style.center_y + style.half_height * 0.4
    ends = np.array([-1.2, height, style.front]), np.array([1.2, height, style.front])
    builder.add(_strip(*ends, rng.uniform(0.1, 0.3)), style.color, _STRIP)
    return Glasses(
        np.concatenate(builder.vertices), np.concatenate(builder.colors), np.concatenate(builder.frame),
        np.concatenate(lenses), float(opacity), lens_color, bool(dark),
    )  # fmt: skip


def _draw_style(points: np.ndarray, rng: np.random.Generator) -> _Style:
    """A style for a head with the given 68 landmarks (68, 3)."""
    half_width, half_height, power = rng.uniform(2.1, 3.1), rng.uniform(1.5, 2.5), rng.uniform(2, 4.5)
    rim, curve = rng.uniform(0.08, 0.45), rng.uniform(0, 0.03)
    color = linear(rng.uniform(0, 60, 3)) if rng.random() < 0.6 else linear(rng.uniform(0, 255, 3))
    front = max(points[36:48, 2].max(), points[27, 2] - 0.4) + rng.uniform(0.7, 1.5)
    center_y = points[36:48, 1].mean() - rng.uniform(-0.2, 0.7)
    return _Style(half_width, half_height, power, rim, curve, color, front, center_y)


def _add_side(
    builder: _Builder, style: _Style, side: int, eye_x: float, rng: np.random.Generator
) -> np.ndarray:
    """Add the rim before one eye and its temple; returns the lens's triangles.

    :param side: -1 or 1, where x has this sign.
    """
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    cosine, sine = np.cos(turn), np.sin(turn)
    radius = (np.abs(cosine) ** style.power + np.abs(sine) ** style.power) ** (-1 / style.power)
    center_x = eye_x + side * rng.uniform(-0.05, 0.25)
    outlines = []
    for grow in (-style.rim / 2, style.rim / 2):
        x = center_x + (style.half_width + grow) * cosine * radius
        y = style.center_y + (style.half_height + grow) * sine * radius
        outlines.append(np.stack([x, y, style.front - style.curve * x * x], 1))
    middle = np.array([[center_x, style.center_y, style.front - style.curve * center_x**2 - 0.05]])
    index, after = np.arange(_CORNERS), (np.arange(_CORNERS) + 1) % _CORNERS
    inner, outer = [index, after], [_CORNERS + index, _CORNERS + after]
    ring = np.concatenate(
        [np.stack([inner[0], outer[0], outer[1]], 1), np.stack([inner[0], outer[1], inner[1]], 1)]
    )
    first = builder.add(np.concatenate([*outlines, middle]), style.color, ring)
    hinge_x = center_x + side * style.half_width
    hinge_y = style.center_y + style.half_height * 0.5
    hinge = np.array([hinge_x, hinge_y, style.front - style.curve * hinge_x**2])
    ear = np.array([side * 7.6, style.center_y + 0.6, 1.0])
    builder.add(_strip(hinge, ear, rng.uniform(0.15, 0.5)), style.color, _STRIP)
    return np.stack([first + index, first + after, np.full(_CORNERS, first + 2 * _CORNERS)], 1)


def _strip(start: np.ndarray, end: np.ndarray, half_height: float) -> np.ndarray:
    up = np.array([0.0, half_height, 0.0])
    return np.stack([start + up, start - up, end + up, end - up])
