"""The camera of a photo or video: calibrated, by its field of view, from EXIF data, or assumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trg_ros.camera import CameraModel
from trg_ros.camera.calibration import load_camera_yaml
from trg_ros.errors import CameraError, InputError
from trg_ros.media.sources import Frame


class Intrinsics:
    """The cameras of the frames of a source, from the best that is known:

    - ``calibration``: a calibration file, for images of its size;
    - ``fov``: a horizontal field of view, ``fov_deg``;
    - ``exif``: the focal length that a phone or camera has written into its photo;
    - ``assumed``: width + height pixels, the paper's convention; all distances are only as good as that.
    """

    def __init__(self, fov_deg: float | None = None, camera_file: str | Path | None = None) -> None:
        """:raises CameraError: for a field of view or a file that can't be used."""
        self._calibrated = load_camera_yaml(camera_file) if camera_file is not None else None
        self._camera_file = camera_file
        self._fov_deg = fov_deg
        self._cameras: dict[tuple[int, int, float | None], CameraModel] = {}
        self._first: dict[str, tuple[str, CameraModel]] = {}
        if fov_deg is not None:
            CameraModel.from_fov(fov_deg, 2, 2)  # a bad angle is an error before anything is opened

    def origin(self, frame: Frame) -> str:
        """Where a frame's camera is from: "calibration", "fov", "exif" or "assumed"."""
        if self._calibrated is not None:
            return "calibration"
        if self._fov_deg is not None:
            return "fov"
        return "assumed" if frame.focal_length_px is None else "exif"

    def of(self, frame: Frame) -> CameraModel:
        """The camera of a frame.

        :raises InputError: if the calibration is for images of another size, or no lens makes such an image.
        """
        height, width = frame.image_bgr.shape[:2]
        key = (width, height, frame.focal_length_px)
        if key not in self._cameras:
            try:
                self._cameras[key] = self._camera(frame, width, height)
            except CameraError as error:
                raise InputError(f"'{frame.name}': {error}") from error
            self._first.setdefault(self.origin(frame), (frame.name, self._cameras[key]))
        return self._cameras[key]

    @property
    def notices(self) -> list[str]:
        """What the user has to know about the cameras so far that nobody gave, one line each."""
        notices = []
        if "exif" in self._first:
            name, camera = self._first["exif"]
            notices.append(
                f"no --fov or --camera: field of view from EXIF data ('{name}': {_fov_deg(camera):.0f} deg "
                "across)"
            )
        if "assumed" in self._first:
            name, camera = self._first["assumed"]
            notices.append(
                f"no --fov or --camera: assumed a focal length of width + height = {camera.fx:g} px "
                f"('{name}': {_fov_deg(camera):.0f} deg across); distances scale with it"
            )
        return notices

    def _camera(self, frame: Frame, width: int, height: int) -> CameraModel:
        calibrated = self._calibrated
        if calibrated is not None:
            if (calibrated.width, calibrated.height) != (width, height):
                raise InputError(
                    f"'{self._camera_file}' is calibrated for {calibrated.width}x{calibrated.height} pixels "
                    f"but '{frame.name}' has {width}x{height}; calibrate at this size, or give --fov"
                )
            return calibrated
        if self._fov_deg is not None:
            return CameraModel.from_fov(self._fov_deg, width, height)
        focal = float(width + height) if frame.focal_length_px is None else frame.focal_length_px
        return CameraModel.pinhole(focal, focal, 0.5 * (width - 1), 0.5 * (height - 1), width, height)


def _fov_deg(camera: CameraModel) -> float:
    return float(2.0 * np.rad2deg(np.arctan(0.5 * camera.width / camera.fx)))
