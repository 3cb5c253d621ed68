"""Cameras of every distortion model, and one whose lens folds the image over itself at its edges."""

from trg_ros.camera import CameraModel

FOLDING = CameraModel.pinhole(600, 610, 310, 250, 640, 480, [-0.3, 0.0, 0.0, 0.0, 0.0])
CAMERAS = {
    "none": CameraModel.pinhole(600, 600, 319.5, 239.5, 640, 480),
    "anisotropic": CameraModel.pinhole(600, 470, 310, 250, 640, 480),
    "plumb_bob": CameraModel.pinhole(600, 610, 310, 250, 640, 480, [-0.3, 0.1, 0.002, -0.001, 0.0]),
    "rational_polynomial": CameraModel.pinhole(
        600, 590, 310, 250, 640, 480, [0.6, -2.9, 0.0004, -0.0002, 1.6, 0.48, -2.7, 1.55]
    ),
    "equidistant": CameraModel.pinhole(
        270, 275, 322, 238, 640, 480, [0.05, -0.01, 0.003, -0.0005], "equidistant"
    ),
}
