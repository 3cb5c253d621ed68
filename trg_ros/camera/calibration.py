"""Calibration files: what ROS's camera_calibration writes, or a CameraInfo message as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trg_ros.camera import CameraModel
from trg_ros.camera.values import integer
from trg_ros.errors import CameraError
from trg_ros.paths import user_path


def load_camera_yaml(path: str | Path) -> CameraModel:
    """Read a camera file: the YAML that ROS's camera_calibration writes, or CameraInfo as YAML.

    The latter is what ``ros2 topic echo --once /camera_info`` prints; its region of interest and binning
    count. Of several messages the first one does.

    :raises CameraError: naming the file and what is wrong in it.
    :raises InputError: for the home folder of a user who isn't there.
    """
    path = user_path(path)
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CameraError(f"can't read camera file {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # YAML's own, encodings, numbers, nesting
        reason = " ".join(str(error).split())
        raise CameraError(
            f"{path} is not a YAML camera file as ROS's camera_calibration writes it: {reason}"
        ) from error
    if not documents or not isinstance(documents[0], Mapping):
        raise CameraError(
            f"{path} is not a camera file: expected keys image_width, image_height, camera_matrix"
        )
    try:
        return _camera(documents[0])
    except CameraError as error:
        raise CameraError(f"camera file {path}: {error}") from error


def _camera(content: Mapping[str, Any]) -> CameraModel:
    camera = CameraModel.from_matrix(
        _entry(content, "camera_matrix", "k", "K"),
        _entry(content, "image_width", "width"),
        _entry(content, "image_height", "height"),
        _entry(content, "distortion_coefficients", "d", "D", default=()),
        _entry(content, "distortion_model", default=None),
    )
    roi = content.get("roi")
    window = roi if isinstance(roi, Mapping) else {}
    names = ("x_offset", "y_offset", "width", "height")
    readout = {name: integer(f"roi {name}", window.get(name, 0)) for name in names}
    readout |= {name: integer(name, content.get(name, 0)) for name in ("binning_x", "binning_y")}
    return camera.with_readout(**readout)


def _entry(content: Mapping[str, Any], *names: str, default: Any = ...) -> Any:
    """The first of ``names`` that is in the file; ROS writes matrices as {rows, cols, data}."""
    for name in names:
        value = content.get(name)
        if value is not None:
            data = value.get("data") if isinstance(value, Mapping) else value
            return () if data is None else data
    if default is ...:
        raise CameraError(f"has no {names[0]}")
    return default
