"""Heads over time: who is who, where to look in the next image, and smooth poses."""

from trg_ros.tracking.tracker import HeadTracker, TrackedHead

__all__ = ["HeadTracker", "TrackedHead"]
