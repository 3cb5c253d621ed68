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
    half_width, half_height, power = rng.uniform(2.1, 3.1), rng.uniform(1.5, 2.5), rng.uniform(2, 4.5)
    rim, curve = rng.uniform(0.08, 0.45), rng.uniform(0, 0.03)
    color = linear(rng.uniform(0, 60, 3)) if rng.random() < 0.6 else linear(rng.uniform(0, 255, 3))
    front = max(points[36:48, 2].max(), points[27, 2] - 0.4) + rng.uniform(0.7, 1.5)
    center_y = points[36:48, 1].mean() - rng.uniform(-0.2, 0.7)
    dark = rng.random() < 0.25
    opacity = rng.uniform(0.6, 1.0) if dark else rng.uniform(0.0, 0.15)
    lens_color = linear(rng.uniform(0, 60, 3)) if dark else linear(rng.uniform(120, 255, 3))

    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    cosine, sine = np.cos(turn), np.sin(turn)
    radius = (np.abs(cosine) ** power + np.abs(sine) ** power) ** (-1 / power)
    index, after = np.arange(_CORNERS), (np.arange(_CORNERS) + 1) % _CORNERS
    ring = np.concatenate(
        [
            np.stack([index, _CORNERS + index, _CORNERS + after], 1),
            np.stack([index, _CORNERS + after, after], 1),
        ]
    )
    builder, lenses = _Builder(), []
    for side, eye in ((-1, slice(36, 42)), (1, slice(42, 48))):
        center_x = points[eye, 0].mean() + side * rng.uniform(-0.05, 0.25)
        outlines = []
        for grow in (-rim / 2, rim / 2):
            x = center_x + (half_width + grow) * cosine * radius
            y = center_y + (half_height + grow) * sine * radius
            outlines.append(np.stack([x, y, front - curve * x * x], 1))
        middle = np.array([[center_x, center_y, front - curve * center_x**2 - 0.05]])
        first = builder.add(np.concatenate([*outlines, middle]), color, ring)
        lenses.append(np.stack([first + index, first + after, np.full(_CORNERS, first + 2 * _CORNERS)], 1))
        hinge_x = center_x + side * half_width
        hinge = np.array([hinge_x, center_y + half_height * 0.5, front - curve * hinge_x**2])
        ear = np.array([side * 7.6, center_y + 0.6, 1.0])
        builder.add(_strip(hinge, ear, rng.uniform(0.15, 0.5)), color, _STRIP)
    bridge = np.array(
        [[-1.2, center_y + half_height * 0.4, front], [1.2, center_y + half_height * 0.4, front]]
    )
    builder.add(_strip(bridge[0], bridge[1], rng.uniform(0.1, 0.3)), color, _STRIP)
    return Glasses(
        np.concatenate(builder.vertices), np.concatenate(builder.colors), np.concatenate(builder.frame),
        np.concatenate(lenses), float(opacity), lens_color, bool(dark),
    )  # fmt: skip


def _strip(start: np.ndarray, end: np.ndarray, half_height: float) -> np.ndarray:
    up = np.array([0.0, half_height, 0.0])
    return np.stack([start + up, start - up, end + up, end - up])
