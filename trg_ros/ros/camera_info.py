"""sensor_msgs/CameraInfo -> CameraModel, as REP 104 and the message's comments define it.

K, D and P are those of the full sensor; the image is the region of interest of it, then binned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trg_ros.camera import CameraModel
from trg_ros.errors import CameraError

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

CALIBRATE = (
    "calibrate the camera (ros2 run camera_calibration cameracalibrator) and give its driver the result "
    "(camera_info_url), or set the parameter assume_fov_deg to go on without"
)


def camera_model_from_info(message: CameraInfo, rectified: bool = False) -> CameraModel:
    """The camera that took the images this message goes with: after its ROI and binning.

    :param rectified: the images are rectified: P holds their intrinsics and there is no distortion.
    :raises CameraError: K of zeros or NaN, no size, an unknown distortion model, a region outside the sensor;
        the message says how to mend it.
    """
    try:
        camera = _rectified(message) if rectified else _raw(message)
        roi = message.roi
        return camera.with_readout(
            roi.x_offset, roi.y_offset, roi.width, roi.height, message.binning_x, message.binning_y
        )
    except CameraError as error:
        raise CameraError(f"camera_info can't be used: {error}; {CALIBRATE}") from error


def _raw(message: CameraInfo) -> CameraModel:
    # Flattened arrays: the same for messages of rclpy and of a bag reader.
    distortion = np.asarray(message.d, dtype=np.float64).ravel()
    return CameraModel.from_matrix(
        np.asarray(message.k, dtype=np.float64).ravel(),
        message.width,
        message.height,
        distortion,
        message.distortion_model,
    )


def _rectified(message: CameraInfo) -> CameraModel:
    """P's left 3x3 block is K of the rectified image; its fourth column is the stereo baseline, not ours."""
    matrix = np.asarray(message.p, dtype=np.float64).ravel().reshape(3, 4)[:, :3]
    if not np.any(matrix):
        raise CameraError("P is all zeros, but the parameter image_rectified says the image is rectified")
    return CameraModel.from_matrix(matrix, message.width, message.height)


def info_from_camera_model(camera: CameraModel | None, width: int, height: int) -> CameraInfo:
    """The CameraInfo of a camera; None: an uncalibrated one of that image size, with K of zeros as in ROS.

    The header is the caller's to fill.
    """
    from sensor_msgs.msg import CameraInfo

    message = CameraInfo(width=width, height=height)
    if camera is None:
        return message
    distorted = camera.distortion_model != "none"
    message.distortion_model = camera.distortion_model if distorted else "plumb_bob"
    message.d = camera.distortion.tolist() if distorted else [0.0] * 5
    message.k = camera.K.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([camera.K, np.zeros((3, 1))]).ravel().tolist()
    return message
