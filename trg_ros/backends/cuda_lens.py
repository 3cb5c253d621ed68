"""Lens models on tensors: what :meth:`CameraModel.project` says, for whole grids of rays and on any device.

The formulas and the limits of the domain are those of `trg_ros.camera.lens`; a test compares them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trg_ros.camera import CameraModel
from trg_ros.camera.lens import Equidistant, RadialTangential


def project(camera: CameraModel, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels u, v (N, S, S) of rays (N, 3, S, S) in the camera frame; NaN where the lens sees nothing."""
    x, y, z = rays.unbind(1)
    lens = camera.lens
    if isinstance(lens, Equidistant):
        x, y = _equidistant(lens, x, y, z)
    else:
        z = torch.where(z > 0, z, math.nan)
        x, y = x / z, y / z
        if lens is not None:
            x, y = _radial_tangential(lens, x, y)
    return x * camera.fx + camera.cx, y * camera.fy + camera.cy


def _radial_tangential(lens: RadialTangential, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    s = x * x + y * y
    radial = _horner(s, lens.numerator)
    if lens.denominator[1:].any():
        radial = radial / _horner(s, lens.denominator)
    radial = torch.where(s < lens.max_radius**2, radial, math.nan)
    if not (lens.p1 or lens.p2):
        return x * radial, y * radial
    p1, p2, product = float(lens.p1), float(lens.p2), 2 * x * y
    return (
        x * radial + p1 * product + p2 * (s + 2 * x * x),
        y * radial + p1 * (s + 2 * y * y) + p2 * product,
    )


def _equidistant(lens: Equidistant, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    r = torch.hypot(x, y)
    theta = torch.atan2(r, z)
    radius = theta * _horner(theta * theta, lens.coefficients)
    on_axis = torch.where(z > 0, 0.0, math.nan)
    scale = torch.where(r > 0, radius / r, on_axis)
    scale = torch.where(theta < lens.max_angle, scale, math.nan)
    return x * scale, y * scale


def _horner(s: Tensor, ascending: NDArray[np.float64]) -> Tensor:
    value = torch.full_like(s, float(ascending[-1]))
    for coefficient in ascending[:-1][::-1].tolist():
        value = value * s + coefficient
    return value
