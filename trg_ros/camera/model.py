"""Calibrated cameras: pinhole with plumb_bob, rational_polynomial or equidistant distortion.

Conventions, here and everywhere in the package:

- camera frame: optical (REP 103): x right, y down, z forward; metres;
- pixels: the centre of the upper left pixel is (0, 0), as in OpenCV and ROS; u to the right, v down;
- normalised plane: z = 1 of the camera frame, undistorted: (x/z, y/z).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trg_ros.camera.lens import Equidistant, RadialTangential
from trg_ros.camera.values import (
    WIDEST_FOV_DEG,
    check_lens,
    checked_distortion,
    checked_points,
    finite,
    integer,
    positive_integer,
    vector,
)
from trg_ros.errors import CameraError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class CameraModel:
    """Intrinsics of one camera at one image size.

    :param fx: focal length in pixels along u (``fy`` along v); they may differ.
    :param cx: principal point in pixels (``cy`` along v); the centre of the upper left pixel is (0, 0).
    :param width: image size in pixels (``height`` likewise).
    :param distortion: coefficients in the order of OpenCV and ``sensor_msgs/CameraInfo``.
    :param distortion_model: none, plumb_bob, rational_polynomial or equidistant.
    :raises CameraError: for values that no camera has.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: Array = field(default_factory=lambda: np.zeros(0))
    distortion_model: str = "none"

    def __post_init__(self) -> None:
        for name in ("fx", "fy", "cx", "cy"):
            object.__setattr__(self, name, finite(name, getattr(self, name)))
        for name in ("width", "height"):
            object.__setattr__(self, name, positive_integer(name, getattr(self, name)))
        check_lens("x", self.fx, self.cx, self.width)
        check_lens("y", self.fy, self.cy, self.height)
        model, coefficients = checked_distortion(self.distortion_model, self.distortion)
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "distortion", coefficients)

    @classmethod
    def pinhole(
        cls,
        fx: float,
        fy: float,
        cx: float,
        cy: float,
        width: int,
        height: int,
        distortion: ArrayLike | None = None,
        distortion_model: str | None = None,
    ) -> CameraModel:
        """A camera from its numbers.

        Without ``distortion_model`` the number of coefficients decides: 4 or 5 plumb_bob, 8
        rational_polynomial. All-zero plumb_bob and rational_polynomial coefficients are no distortion.
        """
        coefficients = np.zeros(0) if distortion is None else vector("distortion", distortion)
        if distortion_model is None:
            by_count = {0: "none", 4: "plumb_bob", 5: "plumb_bob", 8: "rational_polynomial"}
            if len(coefficients) not in by_count:
                raise CameraError(
                    f"{len(coefficients)} distortion coefficients: expected 4 or 5 (plumb_bob) or 8 "
                    "(rational_polynomial), or name the distortion_model"
                )
            distortion_model = by_count[len(coefficients)]
        return cls(fx, fy, cx, cy, width, height, coefficients, distortion_model)

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        width: int,
        height: int,
        distortion: ArrayLike | None = None,
        distortion_model: str | None = None,
    ) -> CameraModel:
        """A camera from K: 3x3, or 9 numbers row by row, in pixels; its skew must be zero."""
        k = vector("camera matrix K", matrix)
        if k.shape != (9,):
            raise CameraError(f"camera matrix K has {k.size} numbers: expected 9 (3x3, row by row)")
        if not np.any(k):
            raise CameraError(
                "camera matrix K is all zeros: the camera is not calibrated; calibrate it, or give a "
                "field of view"
            )
        scale = max(abs(k[0]), 1.0)
        if np.any(np.abs(k[[1, 3, 6, 7]]) > 1e-6 * scale) or abs(k[8] - 1) > 1e-6:
            raise CameraError(f"camera matrix K is {k.tolist()}: expected [fx 0 cx, 0 fy cy, 0 0 1]")
        return cls.pinhole(k[0], k[4], k[2], k[5], width, height, distortion, distortion_model)

    @classmethod
    def from_fov(cls, fov_deg: float, width: int, height: int) -> CameraModel:
        """An ideal camera from its horizontal field of view in degrees; its axis meets the image centre."""
        try:
            fov = float(fov_deg)
        except (TypeError, ValueError) as error:
            raise CameraError(f"field of view is {fov_deg!r}: it must be a number of degrees") from error
        if not 0 < fov <= WIDEST_FOV_DEG:
            raise CameraError(
                f"field of view is {fov:g} degrees: it must be above 0 and at most {WIDEST_FOV_DEG:g}; "
                "a wider lens needs a calibration"
            )
        width, height = positive_integer("width", width), positive_integer("height", height)
        focal = 0.5 * width / np.tan(0.5 * np.deg2rad(fov))
        return cls(float(focal), float(focal), 0.5 * (width - 1), 0.5 * (height - 1), width, height)

    def __repr__(self) -> str:
        lens = f", {self.distortion_model} {self.distortion.round(6).tolist()}" if self.is_distorted else ""
        numbers = f"fx={self.fx:.6g}, fy={self.fy:.6g}, cx={self.cx:.6g}, cy={self.cy:.6g}"
        return f"CameraModel({self.width}x{self.height}, {numbers}{lens})"

    @property
    def K(self) -> Array:
        """Camera matrix (3, 3), pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        """Whether pixels are anything but an affine function of the normalised plane."""
        return self.distortion_model != "none"

    @cached_property
    def lens(self) -> RadialTangential | Equidistant | None:
        """Its distortion on the normalised plane; None for a pinhole."""
        if self.distortion_model == "none":
            return None
        return (
            Equidistant(self.distortion)
            if self.distortion_model == "equidistant"
            else RadialTangential(self.distortion)
        )

    def project(self, points_camera: ArrayLike) -> Array:
        """Project points to pixels.

        :param points_camera: (..., 3), camera frame, any unit.
        :returns: (..., 2) pixels; they may lie outside the image. NaN for points that the lens can't see:
            behind the camera (z <= 0; for equidistant beyond its widest ray, at most 180 degrees), or outside
            the domain where the distortion is one to one.
        """
        xyz = checked_points(points_camera, 3)
        lens = self.lens
        if isinstance(lens, Equidistant):
            xy = lens.distort_rays(xyz)
        else:
            z = np.where(xyz[..., 2] > 0, xyz[..., 2], np.nan)
            xy = xyz[..., :2] / z[..., None]
            if lens is not None:
                xy = lens.distort(xy)
        xy[~np.isfinite(xy[..., 0] + xy[..., 1])] = np.nan
        xy *= (self.fx, self.fy)
        xy += (self.cx, self.cy)
        return xy

    def unproject(self, pixels: ArrayLike) -> Array:
        """Exact inverse of :meth:`project`: pixels (..., 2) to the normalised plane (..., 2).

        NaN for pixels that no valid ray reaches, and for rays 90 degrees or more off the axis.
        """
        xy = (checked_points(pixels, 2) - (self.cx, self.cy)) / (self.fx, self.fy)
        lens = self.lens
        if isinstance(lens, Equidistant):
            rays = lens.undistort_rays(xy)
            return rays[..., :2] / np.where(rays[..., 2:] > 1e-12, rays[..., 2:], np.nan)
        return xy if lens is None else lens.undistort(xy)

    def rays(self, pixels: ArrayLike) -> Array:
        """Unit rays (..., 3) in the camera frame through pixels (..., 2); NaN where no valid ray goes."""
        lens = self.lens
        if isinstance(lens, Equidistant):
            return lens.undistort_rays((checked_points(pixels, 2) - (self.cx, self.cy)) / (self.fx, self.fy))
        xy = self.unproject(pixels)
        rays = np.concatenate([xy, np.ones((*xy.shape[:-1], 1))], axis=-1)
        rays /= np.sqrt((rays * rays).sum(axis=-1, keepdims=True))
        return rays

    def with_roi(self, x_offset: int, y_offset: int, width: int, height: int) -> CameraModel:
        """The camera of a window of this one's image, as ``CameraInfo.roi`` defines it; whole pixels."""
        if not (
            x_offset >= 0
            and y_offset >= 0
            and x_offset + width <= self.width
            and y_offset + height <= self.height
        ):
            raise CameraError(
                f"region of interest x={x_offset} y={y_offset} {width}x{height} leaves the "
                f"{self.width}x{self.height} image: correct CameraInfo.roi"
            )
        return replace(self, cx=self.cx - x_offset, cy=self.cy - y_offset, width=width, height=height)

    def binned(self, binning_x: int, binning_y: int) -> CameraModel:
        """The camera after ``CameraInfo`` binning; 0 and 1 both mean none.

        Apply it after :meth:`with_roi`: image pixel = (full-resolution pixel - offset) / binning, the
        convention of image_geometry. It moves no pixel centres: an image averaged from blocks of b pixels
        would lie (b - 1) / (2 b) binned pixels off, less than half a pixel, and :meth:`scaled` is the exact
        model of that.
        """
        bx, by = (max(1, integer("binning", value)) for value in (binning_x, binning_y))
        return replace(
            self,
            fx=self.fx / bx,
            fy=self.fy / by,
            cx=self.cx / bx,
            cy=self.cy / by,
            width=positive_integer("binned width", self.width // bx),
            height=positive_integer("binned height", self.height // by),
        )

    def with_readout(
        self,
        x_offset: int = 0,
        y_offset: int = 0,
        width: int = 0,
        height: int = 0,
        binning_x: int = 0,
        binning_y: int = 0,
    ) -> CameraModel:
        """The camera of the images that a sensor delivers, by ``CameraInfo``'s ``roi`` and binning.

        :meth:`with_roi`, then :meth:`binned`; a size of zero reaches to the sensor's end.
        """
        camera = self
        if x_offset or y_offset or width or height:
            width, height = width or max(self.width - x_offset, 1), height or max(self.height - y_offset, 1)
            camera = self.with_roi(x_offset, y_offset, width, height)
        return camera.binned(binning_x, binning_y) if max(binning_x, binning_y) > 1 else camera

    def scaled(self, scale: float) -> CameraModel:
        """The camera of the image resized by ``scale`` (``cv2.resize``, which maps u to (u + 0.5) s - 0.5).

        The new size is rounded to whole pixels, and the focal lengths follow the size.
        """
        if not (np.isfinite(scale) and scale > 0):
            raise CameraError(f"image scale is {scale}: it must be positive")
        width, height = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    def _key(self) -> tuple[object, ...]:
        size = (self.width, self.height)
        return (self.fx, self.fy, self.cx, self.cy, *size, self.distortion_model, self.distortion.tobytes())

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, CameraModel) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())
