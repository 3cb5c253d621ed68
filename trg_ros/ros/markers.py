"""RViz markers of the faces: dense landmarks as points, the axes of REP 155, the face as triangles.

Building thousands of Point objects is what costs here, so each slot keeps its own and only moves them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from trg_ros.ros.frame import FrameResult
from trg_ros.ros.parameters import Settings
from trg_ros.tracking import TrackedHead

LANDMARKS, AXES, MESH = "landmarks", "axes", "mesh"
"""The namespaces; a marker's id is the slot of its face."""

_AXES_COLOURS = [ColorRGBA(r=1.0, a=1.0), ColorRGBA(g=1.0, a=1.0), ColorRGBA(b=1.0, a=1.0)]
_SLOT_COLOURS = [
    (0.95, 0.85, 0.25),
    (0.3, 0.8, 0.95),
    (0.95, 0.5, 0.7),
    (0.55, 0.9, 0.45),
    (0.95, 0.6, 0.25),
    (0.7, 0.6, 0.95),
    (0.85, 0.85, 0.85),
    (0.4, 0.9, 0.8),
]


class FaceMarkers:
    """Builds the MarkerArray of each image, with DELETE for what was shown and is no more."""

    def __init__(self, triangles: npt.NDArray[np.integer]) -> None:
        """`triangles`: (T, 3) indices into the landmarks."""
        self._corners = np.asarray(triangles).reshape(-1)
        self._points: dict[tuple[str, int], list[Point]] = {}
        self._shown: set[tuple[str, int]] = set()

    @property
    def shown(self) -> bool:
        """Whether a viewer shows any of them now."""
        return bool(self._shown)

    def build(self, result: FrameResult, settings: Settings) -> MarkerArray:
        """Everything the settings ask for, for every face; axes and landmarks in the camera frame, metres."""
        markers: list[Marker] = []
        for tracked, pose in zip(result.heads, result.seen.face_poses, strict=True):
            if settings.marker_landmarks:
                markers.append(self._landmarks(result.header, tracked, settings.marker_point_size))
            if settings.marker_axes:
                markers.append(_axes(result.header, tracked.slot, pose, settings.marker_axes_length))
            if settings.marker_mesh:
                markers.append(self._mesh(result.header, tracked))
        shown = {(marker.ns, marker.id) for marker in markers}
        gone = [
            Marker(header=result.header, ns=ns, id=slot, action=Marker.DELETE)
            for ns, slot in sorted(self._shown - shown)
        ]
        self._shown = shown
        for key in [key for key in self._points if key not in shown]:
            del self._points[key]
        return MarkerArray(markers=gone + markers)

    def clear(self) -> MarkerArray:
        """A message that removes everything; the next `build` starts afresh."""
        self._shown.clear()
        self._points.clear()
        return MarkerArray(markers=[Marker(action=Marker.DELETEALL)])

    def _landmarks(self, header: Header, tracked: TrackedHead, size_m: float) -> Marker:
        red, green, blue = _SLOT_COLOURS[tracked.slot % len(_SLOT_COLOURS)]
        return _marker(
            header,
            LANDMARKS,
            tracked.slot,
            Marker.POINTS,
            scale=Vector3(x=size_m, y=size_m),
            color=ColorRGBA(r=red, g=green, b=blue, a=1.0),
            points=self._moved((LANDMARKS, tracked.slot), tracked.head.landmarks_camera),
        )

    def _mesh(self, header: Header, tracked: TrackedHead) -> Marker:
        corners = np.asarray(tracked.head.landmarks_camera)[self._corners]
        return _marker(
            header,
            MESH,
            tracked.slot,
            Marker.TRIANGLE_LIST,
            scale=Vector3(x=1.0, y=1.0, z=1.0),
            color=ColorRGBA(r=0.8, g=0.75, b=0.7, a=0.6),
            points=self._moved((MESH, tracked.slot), corners),
        )

    def _moved(self, key: tuple[str, int], positions: npt.NDArray[np.floating]) -> list[Point]:
        points = self._points.setdefault(key, [])
        if len(points) != len(positions):
            points[:] = [Point() for _ in range(len(positions))]
        for point, (x, y, z) in zip(points, np.asarray(positions, dtype=np.float64).tolist(), strict=True):
            point.x, point.y, point.z = x, y, z
        return points


def _axes(header: Header, slot: int, pose: Pose, length_m: float) -> Marker:
    points, colours = [], []
    for axis, colour in enumerate(_AXES_COLOURS):
        tip = [0.0, 0.0, 0.0]
        tip[axis] = length_m
        points += [Point(), Point(x=tip[0], y=tip[1], z=tip[2])]
        colours += [colour, colour]
    return _marker(
        header,
        AXES,
        slot,
        Marker.LINE_LIST,
        scale=Vector3(x=0.06 * length_m),
        pose=pose,
        points=points,
        colors=colours,
        color=ColorRGBA(a=1.0),
    )


def _marker(header: Header, ns: str, slot: int, kind: int, **fields: Any) -> Marker:
    marker = Marker(
        header=header, ns=ns, id=slot, type=kind, action=Marker.ADD, lifetime=Duration(), **fields
    )
    if "pose" not in fields:
        marker.pose.orientation.w = 1.0
    return marker
