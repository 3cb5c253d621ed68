"""Cameras: how pixels and rays belong together, and calibration files."""

from trg_ros.camera.model import CameraModel

__all__ = ["CameraModel"]
