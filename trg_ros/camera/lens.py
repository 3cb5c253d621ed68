"""Lens distortion on the normalised image plane: forward models, their valid domains and exact inverses.

The normalised plane is z = 1 of the camera's optical frame; a point there is (x/z, y/z), without unit.
The formulas are OpenCV's: https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html and, for ``equidistant``,
https://docs.opencv.org/4.x/db/d58/group__calib3d__fisheye.html; the names are those of
``sensor_msgs/distortion_models.h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TOLERANCE = 1e-13  # of the inverse, on the normalised plane: far below a micro-pixel for any focal length
_ITERATIONS = 60
_WIDEST_RADIUS = 10.0  # 84 degrees off the axis: more than any lens that these two models describe


def smallest_positive_root(ascending: NDArray[Any]) -> float:
    """Smallest positive real root of a polynomial, from its ascending coefficients; inf if there is none."""
    coefficients = np.where(
        np.abs(ascending) > 1e-14, ascending, 0.0
    )  # np.roots overflows on tiny leading ones
    coefficients = np.trim_zeros(coefficients, "b")
    if len(coefficients) < 2:
        return float("inf")
    roots = np.roots(coefficients[::-1])
    real = roots.real[(np.abs(roots.imag) < 1e-9 * (1.0 + np.abs(roots.real))) & (roots.real > 1e-12)]
    return float(real.min()) if len(real) else float("inf")


class RadialTangential:
    """``plumb_bob`` (k1, k2, p1, p2, k3) and ``rational_polynomial`` (k1, k2, p1, p2, k3, k4, k5, k6).

    Valid where the distorted radius still grows with the true one: beyond that a polynomial folds the image
    over itself, and no pixel there belongs to one ray.
    """

    def __init__(self, coefficients: Array) -> None:
        k1, k2, self.p1, self.p2, k3, k4, k5, k6 = np.concatenate([coefficients, np.zeros(8)])[:8]
        self.numerator = np.array([1.0, k1, k2, k3])
        self.denominator = np.array([1.0, k4, k5, k6])
        self.max_radius = self._max_radius()
        if self.p1 or self.p2:
            self.max_radius = self._max_radius_with_tangential()

    def _max_radius(self) -> float:
        """First radius at which d(distorted radius) / d(radius) reaches zero, or the quotient its pole."""
        poly = np.polynomial.polynomial
        n, d = self.numerator, self.denominator
        squared = np.array([0.0, 2.0])  # 2 s, with s the squared radius
        slope = poly.polysub(
            poly.polymul(poly.polyadd(n, poly.polymul(squared, poly.polyder(n))), d),
            poly.polymul(poly.polymul(squared, n), poly.polyder(d)),
        )
        return float(np.sqrt(min(smallest_positive_root(slope), smallest_positive_root(d))))

    def _max_radius_with_tangential(self) -> float:
        """The same in the least favourable direction, where the Jacobian of the distortion turns singular."""
        radii = np.linspace(0, min(self.max_radius, _WIDEST_RADIUS), 401)[:-1]
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        xy = radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        singular = np.flatnonzero((np.linalg.det(self._jacobian(xy)) <= 0).any(axis=1))
        return float(radii[singular[0] - 1]) if len(singular) else self.max_radius

    def _radial(self, s: Array) -> Array:
        """Radial factor of the squared radius s."""
        factor = _horner(s, self.numerator)
        return factor / _horner(s, self.denominator) if self.denominator[1:].any() else factor

    def _radial_slope(self, s: Array) -> Array:
        """Derivative of the radial factor by the squared radius s."""
        n, d = _horner(s, self.numerator), _horner(s, self.denominator)
        weights = np.array([1.0, 2.0, 3.0])
        dn, dd = _horner(s, self.numerator[1:] * weights), _horner(s, self.denominator[1:] * weights)
        return (dn * d - n * dd) / (d * d)

    def distort(self, xy: Array) -> Array:
        """Distort points (..., 2) of the normalised plane; NaN outside the valid domain."""
        x, y = xy[..., 0], xy[..., 1]
        s = x * x + y * y
        radial = np.where(s < self.max_radius**2, self._radial(s), np.nan)
        out = xy * radial[..., None]
        if self.p1 or self.p2:
            product = 2 * x * y
            out[..., 0] += self.p1 * product + self.p2 * (s + 2 * x * x)
            out[..., 1] += self.p1 * (s + 2 * y * y) + self.p2 * product
        return out

    def _jacobian(self, xy: Array) -> Array:
        """Jacobian (..., 2, 2) of the distortion at points (..., 2)."""
        x, y = xy[..., 0], xy[..., 1]
        s = x * x + y * y
        radial, slope = self._radial(s), self._radial_slope(s)
        jacobian = np.empty((*xy.shape, 2))
        jacobian[..., 0, 0] = radial + 2 * slope * x * x + 2 * self.p1 * y + 6 * self.p2 * x
        jacobian[..., 1, 1] = radial + 2 * slope * y * y + 6 * self.p1 * y + 2 * self.p2 * x
        jacobian[..., 0, 1] = jacobian[..., 1, 0] = 2 * slope * x * y + 2 * self.p1 * x + 2 * self.p2 * y
        return jacobian

    def _undistort_radius(self, distorted: Array) -> Array:
        """Radius whose radially distorted radius is given (...,), by bracketed Newton."""
        high = np.full_like(distorted, self.max_radius)
        if not np.isfinite(self.max_radius):
            high = np.maximum(1.0, 2 * distorted)
            for _ in range(_ITERATIONS):
                short = high * self._radial(high * high) < distorted
                if not short.any():
                    break
                high = np.where(short, 2 * high, high)
        low, r = np.zeros_like(distorted), np.minimum(distorted, 0.5 * high)
        for _ in range(_ITERATIONS):
            s = r * r
            radial, slope = self._radial(s), self._radial_slope(s)
            error = r * radial - distorted
            low, high = np.where(error <= 0, r, low), np.where(error > 0, r, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                newton = r - error / (radial + 2 * slope * s)
            r = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            if np.all(np.abs(error) < _TOLERANCE * (1 + distorted)):
                break
        return r

    def undistort(self, xy: Array) -> Array:
        """Exact inverse of :meth:`distort` for points (..., 2); NaN where no valid point maps there."""
        distorted = np.linalg.norm(xy, axis=-1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scale = np.where(distorted > 0, self._undistort_radius(distorted) / distorted, 1.0)
            limit = 0.999 * self.max_radius
            norm = scale * distorted
            scale = np.where(norm > limit, scale * limit / norm, scale)
            return self._newton(xy, xy * scale[..., None])

    def _newton(self, target: Array, guess: Array) -> Array:
        """Damped Newton from ``guess`` to the point that distorts to ``target``; NaN if it isn't reached."""
        current = guess
        residual = target - self.distort(current)
        error = np.linalg.norm(residual, axis=-1)
        step = np.ones(error.shape)
        for _ in range(_ITERATIONS):
            if np.all((error < _TOLERANCE) | ~np.isfinite(error) | (step < 1e-9)):
                break
            trial = current + step[..., None] * _solve_2x2(self._jacobian(current), residual)
            trial_residual = target - self.distort(trial)
            trial_error = np.linalg.norm(trial_residual, axis=-1)
            better = trial_error < error
            step = np.where(better, 1.0, 0.5 * step)
            current = np.where(better[..., None], trial, current)
            residual = np.where(better[..., None], trial_residual, residual)
            error = np.where(better, trial_error, error)
        return np.where((error < 1e-10)[..., None], current, np.nan)


class Equidistant:
    """``equidistant`` (k1, k2, k3, k4), OpenCV's fisheye: image radius as a polynomial of the ray's angle.

    Valid up to the angle where that polynomial stops growing, at most 180 degrees: rays beyond 90 degrees,
    which a wide fisheye does see, have no place on the normalised plane but are rays like any other.
    """

    def __init__(self, coefficients: Array) -> None:
        self.coefficients = np.concatenate([[1.0], coefficients])
        derivative = self.coefficients * (2 * np.arange(5) + 1)
        self.max_angle = min(float(np.sqrt(smallest_positive_root(derivative))), np.pi)

    def _radius(self, theta: Array) -> tuple[Array, NDArray[Any]]:
        """Image radius of the angle theta, and its derivative."""
        s = theta * theta
        derivative = self.coefficients * (2 * np.arange(5) + 1)
        return theta * _horner(s, self.coefficients), _horner(s, derivative)

    def distort_rays(self, points: Array) -> Array:
        """Points (..., 3) of any scale -> distorted normalised points (..., 2); NaN outside the domain."""
        r = np.linalg.norm(points[..., :2], axis=-1)
        theta = np.arctan2(r, points[..., 2])
        with np.errstate(divide="ignore", invalid="ignore"):
            radius = self._radius(theta)[0]
            scale = np.where(r > 0, radius / r, np.where(points[..., 2] > 0, 0.0, np.nan))
        scale = np.where(theta < self.max_angle, scale, np.nan)
        return points[..., :2] * scale[..., None]

    def undistort_rays(self, xy: Array) -> Array:
        """Distorted normalised points (..., 2) -> unit rays (..., 3); NaN where no valid ray maps there."""
        radius = np.linalg.norm(xy, axis=-1)
        low, high = np.zeros_like(radius), np.full_like(radius, self.max_angle)
        theta = np.minimum(radius, 0.5 * high)
        for _ in range(_ITERATIONS):
            value, slope = self._radius(theta)
            error = value - radius
            low, high = np.where(error <= 0, theta, low), np.where(error > 0, theta, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                newton = theta - error / slope
            theta = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            if np.all(np.abs(error) < _TOLERANCE * (1 + radius)):
                break
        reached = np.abs(self._radius(theta)[0] - radius) < 1e-10
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(radius > 0, np.sin(theta) / radius, 1.0)
        rays = np.concatenate([xy * scale[..., None], np.cos(theta)[..., None]], axis=-1)
        return np.where(reached[..., None], rays, np.nan)


def _horner(s: Array, ascending: NDArray[Any]) -> Array:
    """Value of a polynomial; leading coefficients that are zero cost nothing."""
    last = int(np.flatnonzero(ascending)[-1]) if ascending.any() else 0
    value = np.full_like(s, ascending[last])
    for coefficient in ascending[:last][::-1]:
        value *= s
        value += coefficient
    return value


def _solve_2x2(matrix: Array, vector: Array) -> Array:
    """Solve (..., 2, 2) systems; NaN where singular, so that one bad point doesn't stop the others."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    x = (d * vector[..., 0] - b * vector[..., 1]) / determinant
    y = (a * vector[..., 1] - c * vector[..., 0]) / determinant
    return np.stack([x, y], axis=-1)
