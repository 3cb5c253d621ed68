"""Pictures of a :class:`Crowd`: rendered heads with known poses that pass before each other, over minutes.

Each person is rendered once for each of the directions it looks in, so that a picture costs little more than
putting these views together: a view is turned with the ray to the head and about it, which is exact, and
scaled to its distance, which is exact for heads that don't come nearer than where they were rendered (within
2 mm for these crowds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import LANDMARK_BOX_SCALE, centered_box
from trg_ros.evaluation.sequences import Account, Crowd
from trg_ros.geometry import make_transform, shortest_turn
from trg_ros.synthetic.backgrounds import procedural_background
from trg_ros.synthetic.head_frame import scan_R_head
from trg_ros.synthetic.person import Placement, draw_shape, rotation_from_angles
from trg_ros.synthetic.render import HeadRenderer
from trg_ros.tracking import HeadTracker

Array = NDArray[np.float64]

RATE_HZ = 15
CAMERA = CameraModel.pinhole(500, 500, 319.5, 239.5, 640, 480)
_INTRINSICS = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])
_MARGIN = 2.4  # of a view, in box sides: hair and shoulders
_STEP_DEG = 5.0  # between views
_COVER_SIDES = 1.3  # size of what covers somebody, in box sides
#: Somebody is visible if so much of the face shows, and hidden if less than this.
_VISIBLE, _HIDDEN = 0.7, 0.1
_NOBODY = 255


@dataclass(frozen=True)
class CrowdPicture:
    """image_bgr: (H, W, 3) uint8. camera_T_head: (N, 4, 4) metres. shows: (N,) part of each face seen."""

    image_bgr: NDArray[np.uint8]
    camera_T_head: Array
    shows: Array

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(N,) who has to be found."""
        return self.shows >= _VISIBLE

    @property
    def noticeable(self) -> NDArray[np.bool_]:
        """(N,) who may be found."""
        return self.shows >= _HIDDEN


@dataclass(frozen=True)
class _View:
    """image: (S, S, 4) uint8 premultiplied RGBA of a head on the optical axis; plane_to_pixel: (3, 3)."""

    image: NDArray[np.uint8]
    plane_to_pixel: Array
    box: Array
    landmarks68: Array


class _Person:
    """The views of one person, rendered when they are first needed."""

    def __init__(self, renderer: HeadRenderer, seed: int, number: int, distance: float) -> None:
        """Distance: metres from the camera at which it is rendered."""
        self._renderer, self._look_seed, self.distance = renderer, [seed, number], distance
        identity, expression = draw_shape(renderer.model, np.random.default_rng([seed, number, 1]))
        self._vertices = renderer.model.shapes(identity[None], 0 * expression[None])[0]
        self._expression = 0 * expression
        chosen = renderer.landmark_set
        self._points68 = renderer.model.to_head_frame(self._vertices[chosen.vertices[chosen.landmarks68]])
        self._scan_R_head = scan_R_head(self._points68, renderer.rigid_reference)
        self._views: dict[tuple[int, int], _View] = {}

    def view(self, pitch_deg: float, yaw_deg: float) -> tuple[_View, Array]:
        """The view nearest to these angles, and ray_R_head (3, 3), its rotation against the viewing ray."""
        steps = round(pitch_deg / _STEP_DEG), round(yaw_deg / _STEP_DEG)
        pitch, yaw = (np.deg2rad(_STEP_DEG * step) for step in steps)
        rotation = rotation_from_angles(pitch, yaw, 0.0)
        if steps not in self._views:
            self._views[steps] = self._render(rotation)
        return self._views[steps], rotation @ self._scan_R_head

    def _render(self, rotation: Array) -> _View:
        """Rotation: ray_R_scan (3, 3)."""
        placement = Placement(rotation, np.array([0.0, 0.0, self.distance]))
        camera = self._points68 @ rotation.T + placement.translation
        plane = camera[:, :2] / camera[:, 2:]
        box = centered_box(plane)
        side = int(np.ceil(box[2] * _MARGIN * CAMERA.fx))
        image, _ = self._renderer.picture(
            self._vertices.copy(), self._expression, placement, box, _MARGIN,
            np.random.default_rng(self._look_seed), side,
        )  # fmt: skip
        scale = side / (box[2] * _MARGIN)
        offset = side / 2 - 0.5 - scale * box[:2]
        to_pixel = np.array([[scale, 0, offset[0]], [0, scale, offset[1]], [0, 0, 1]])
        return _View(image, to_pixel, box, plane)


class RenderedCrowd:
    """Pictures of the people of a crowd before one background."""

    def __init__(self, renderer: HeadRenderer, crowd: Crowd, seed: int) -> None:
        self._crowd = crowd
        rng = np.random.default_rng([seed, 5])
        self._background = procedural_background(CAMERA.height, CAMERA.width, rng)[..., ::-1].copy()
        self._cover = procedural_background(CAMERA.height, CAMERA.width, rng)[..., ::-1].copy()
        self._people = [_Person(renderer, seed, *row) for row in enumerate(crowd.depth.tolist())]

    @classmethod
    def load(cls, face_model: Path | str, count: int, seed: int) -> RenderedCrowd:
        """:raises InputError: when the face model can't be read."""
        return cls(HeadRenderer(face_model), Crowd(count, seed), seed)

    def picture(self, time_s: float) -> CrowdPicture:
        """The same for the same time."""
        places, angles_deg = self._crowd.places(time_s), self._crowd.angles_deg(time_s)
        covered = self._crowd.covered(time_s)
        image = self._background.copy()
        owner = np.full(image.shape[:2], _NOBODY, np.uint8)
        poses = np.tile(np.eye(4), (self._crowd.count, 1, 1))
        faces = np.zeros((self._crowd.count, 51, 2))
        for number in np.argsort(-places[:, 2]):
            place, angles = places[number], angles_deg[number]
            poses[number], faces[number] = self._paint(image, owner, number, place, angles)
            if number == covered:
                self._hide(image, owner, faces[number])
        shows = np.array([_part_of(owner, number, face) for number, face in enumerate(faces)])
        return CrowdPicture(image, poses, shows)

    def _paint(
        self, image: NDArray, owner: NDArray, number: int, place: Array, angles_deg: Array
    ) -> tuple[Array, Array]:
        """Put a person into the picture; its pose (4, 4) and the pixels (51, 2) of its inner landmarks."""
        person = self._people[number]
        view, rotation = person.view(angles_deg[0], angles_deg[1])
        distance = float(np.linalg.norm(place))
        turn = shortest_turn(place[None] / distance)[0]
        turn = turn @ rotation_from_angles(0.0, 0.0, np.deg2rad(angles_deg[2]))
        zoom = np.diag([distance / person.distance, distance / person.distance, 1.0])
        plane_from_image = zoom @ turn.T @ np.linalg.inv(_INTRINSICS)
        view_from_image = view.plane_to_pixel @ plane_from_image
        image_from_plane = np.linalg.inv(plane_from_image)
        half = 0.5 * _MARGIN * view.box[2]
        corners = view.box[:2] + half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        _blend(image, owner, number, view, view_from_image, _moved(image_from_plane, corners))
        return make_transform(turn @ rotation, place), _moved(image_from_plane, view.landmarks68[17:])

    def _hide(self, image: NDArray, owner: NDArray, face: Array) -> None:
        """Hold something before a face."""
        center, side = face.mean(axis=0), _COVER_SIDES * LANDMARK_BOX_SCALE * np.ptp(face, axis=0).max()
        low = np.clip(np.rint(center - side / 2), 0, [CAMERA.width, CAMERA.height]).astype(int)
        high = np.clip(np.rint(center + side / 2), 0, [CAMERA.width, CAMERA.height]).astype(int)
        part = slice(low[1], high[1]), slice(low[0], high[0])
        image[part], owner[part] = self._cover[part], _NOBODY


def follow(
    tracker: HeadTracker,
    crowd: RenderedCrowd,
    seconds: float,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Account:
    """Let a tracker see a crowd for so long, and keep account of its identities."""
    account = Account()
    for frame in progress(range(int(seconds * RATE_HZ))):
        time_s = frame / RATE_HZ
        picture = crowd.picture(time_s)
        heads = tracker.update(picture.image_bgr, CAMERA, time_s)
        places = picture.camera_T_head[:, :3, 3]
        account.observe(time_s, heads, places, picture.visible, picture.noticeable)
    return account


def _blend(
    image: NDArray, owner: NDArray, number: int, view: _View, view_from_image: Array, corners: Array
) -> None:
    """Resample a view into the picture's pixels and put it over them, in place."""
    size = [CAMERA.width, CAMERA.height]
    low = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, size).astype(int)
    if (high <= low).any():
        return
    shifted = view_from_image @ np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    layer = cv2.warpPerspective(view.image, shifted, tuple(int(n) for n in high - low), flags=flags)
    part = slice(low[1], high[1]), slice(low[0], high[0])
    below = image[part] * (1 - layer[..., 3:] / np.float32(255))
    image[part] = np.clip(below + layer[..., 2::-1] + 0.5, 0, 255)
    owner[part][layer[..., 3] > 127] = number


def _moved(homography: Array, points: Array) -> Array:
    """(N, 2) points through a (3, 3) homography."""
    moved = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    return moved[:, :2] / moved[:, 2:]


def _part_of(owner: NDArray, number: int, pixels: Array) -> float:
    """How many of the pixels (N, 2) belong to that person, 0..1; those outside the image don't."""
    columns, rows = np.rint(pixels).astype(int).T
    inside = (columns >= 0) & (columns < CAMERA.width) & (rows >= 0) & (rows < CAMERA.height)
    return float((owner[rows[inside], columns[inside]] == number).sum() / len(pixels))
