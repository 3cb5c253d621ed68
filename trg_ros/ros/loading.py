"""Settings -> estimator and tracker. Imports torch: only for when the node is configured."""

from __future__ import annotations

from trg_ros.estimator import HeadPoseEstimator
from trg_ros.ros.parameters import Settings
from trg_ros.tracking import HeadTracker


def load_estimator(settings: Settings) -> HeadPoseEstimator:
    """The network on its device, with its face detector (none where boxes come from a topic).

    Raises TrgRosError.
    """
    raise NotImplementedError


def make_tracker(estimator: HeadPoseEstimator, settings: Settings) -> HeadTracker:
    raise NotImplementedError
