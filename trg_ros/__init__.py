"""Real-time metric 6DoF head pose for robots, from one RGB camera, with TRG (ECCV 2024).

What most programs need can be imported from here. It is loaded when it is first used, so that
`import trg_ros` costs nothing:

    from trg_ros import CameraModel, HeadPoseEstimator
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trg_ros.camera import CameraModel
    from trg_ros.camera.calibration import load_camera_yaml
    from trg_ros.detection import Detections, FaceDetector, make_detector, trg_boxes_from_face_boxes
    from trg_ros.errors import (
        CameraError,
        CheckpointError,
        DatasetError,
        DetectorError,
        DeviceError,
        InputError,
        TrgRosError,
    )
    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.heads import HeadPose
    from trg_ros.media.intrinsics import Intrinsics
    from trg_ros.media.photo import read_photo
    from trg_ros.media.sources import open_source
    from trg_ros.tracking import HeadTracker, TrackedHead
    from trg_ros.tracking.filtering import PoseSmoother
    from trg_ros.visualization import draw_heads

# A checkout beside an installed package would hide the generated `trg_ros.msg`.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

__all__ = [
    "CameraError",
    "CameraModel",
    "CheckpointError",
    "DatasetError",
    "Detections",
    "DetectorError",
    "DeviceError",
    "FaceDetector",
    "HeadPose",
    "HeadPoseEstimator",
    "HeadTracker",
    "InputError",
    "Intrinsics",
    "PoseSmoother",
    "TrackedHead",
    "TrgRosError",
    "draw_heads",
    "load_camera_yaml",
    "make_detector",
    "open_source",
    "read_photo",
    "trg_boxes_from_face_boxes",
]

_MODULES = {
    "camera": ["CameraModel"],
    "camera.calibration": ["load_camera_yaml"],
    "detection": ["Detections", "FaceDetector", "make_detector", "trg_boxes_from_face_boxes"],
    "errors": [name for name in __all__ if name.endswith("Error")],
    "estimator": ["HeadPoseEstimator"],
    "tracking.filtering": ["PoseSmoother"],
    "heads": ["HeadPose"],
    "media.intrinsics": ["Intrinsics"],
    "media.photo": ["read_photo"],
    "media.sources": ["open_source"],
    "tracking": ["HeadTracker", "TrackedHead"],
    "visualization": ["draw_heads"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'trg_ros' has no attribute {name!r}")
        value = getattr(import_module(f"trg_ros.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
