"""Settings -> estimator and tracker. Imports what runs the network: only for when the node is configured."""

from __future__ import annotations

from trg_ros.detection import FaceDetector, make_detector
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.ros.guarded_searcher import GuardedSearcher
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.parameters import Settings
from trg_ros.ros.statistics import Statistics
from trg_ros.tracking import HeadTracker
from trg_ros.tracking.searching import BackgroundSearcher


def load_estimator(settings: Settings) -> HeadPoseEstimator:
    """The network on its device, with its face detector (none where boxes come from a topic).

    Raises TrgRosError: whatever is asked for and missing is an error now, not with the first image.
    """
    return HeadPoseEstimator.load(
        settings.checkpoint or None,
        device=settings.device,
        backend=settings.backend,
        detector=_detector(settings),
        threads=settings.threads or None,
        pose_source=settings.pose_source,
    )


def make_tracker(
    estimator: HeadPoseEstimator, settings: Settings, statistics: Statistics, log: ThrottledLog
) -> HeadTracker:
    """A tracker without tracks. Its detector may be slow or fail without harm to those who are tracked."""
    return HeadTracker(
        estimator,
        detection_interval=settings.detection_interval,
        max_faces=settings.max_faces,
        min_score=settings.min_score,
        searcher=GuardedSearcher(BackgroundSearcher(estimator), statistics, log),
    )


def _detector(settings: Settings) -> FaceDetector | None:
    if settings.detector == "topic":
        return None
    options: dict[str, object] = {
        "max_side": settings.detection_max_side,
        "min_score": settings.detection_min_score,
    }
    if settings.detector_model:
        options["library" if settings.detector == "libfacedetection" else "path"] = settings.detector_model
    return make_detector(settings.detector, **options)
