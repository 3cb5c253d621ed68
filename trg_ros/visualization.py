"""Drawing head poses on the image they were estimated from.

The axes are those of `camera_T_face` (REP 155): x red, out of the face; y green, to the person's left;
z blue, to the top of the head. They go through the camera model, distortion included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from trg_ros.camera import CameraModel
from trg_ros.checks import check_image
from trg_ros.errors import InputError
from trg_ros.labels import Colour, Label, draw_labels

if TYPE_CHECKING:
    from trg_ros.estimator import HeadPose

ImageArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

_AXIS_COLOURS_BGR: tuple[Colour, ...] = ((48, 48, 235), (60, 190, 40), (240, 110, 30))
_LANDMARK_NEAR_BGR = np.array([255.0, 255.0, 150.0], np.float32)
_LANDMARK_FAR_BGR = np.array([190.0, 110.0, 0.0], np.float32)
_IDENTITY_COLOURS_BGR: tuple[Colour, ...] = (
    (80, 200, 255), (230, 190, 70), (150, 110, 255), (110, 220, 130),
    (240, 130, 190), (60, 140, 255), (220, 220, 120), (180, 180, 220),
)  # fmt: skip
_SHADOW_BGR: Colour = (25, 22, 20)
_DENSEST_COVER = 0.14
"""How much of a face its landmarks may hide on average."""
_SUBPIXEL_BITS = 4
_LARGEST_COORDINATE = 30000.0
"""OpenCV clips lines in 32-bit fixed point; ends further away than this would overflow it."""


class IdentifiedHead(Protocol):
    """A head with an identity; `trg_ros.tracking.TrackedHead` is one."""

    @property
    def id(self) -> int:
        """Identity over time; chooses the colour."""

    @property
    def head(self) -> HeadPose:
        """The estimate."""


class _Drawn(NamedTuple):
    """What is drawn of a head."""

    head: HeadPose
    label: Label


def draw_heads(
    image_bgr: ImageArray,
    heads: Sequence[HeadPose | IdentifiedHead],
    camera: CameraModel | None = None,
    *,
    axes_length_m: float = 0.1,
    landmarks: bool = True,
    labels: bool = True,
) -> ImageArray:
    """Draws landmarks, face boxes, axes, identities and distances, nearer heads over farther ones.

    :param image_bgr: (H, W, 3) uint8 BGR; it is not changed.
    :param heads: of this image, from an estimator or a tracker; one whose pose or box isn't finite is left
        out.
    :param camera: the model of the camera that took the image; None: the heads know it.
    :param axes_length_m: length of the axes in metres.
    :returns: a new (H, W, 3) uint8 BGR image.
    :raises InputError: if the image isn't (H, W, 3) uint8, or the heads aren't a list.
    """
    check_image(image_bgr)
    if not isinstance(heads, Iterable):
        raise InputError(
            f"heads is a {type(heads).__name__}: expected a list of heads; [head] for a single one"
        )
    canvas = np.array(image_bgr, np.uint8, order="C")
    drawn = [_drawn(index, item) for index, item in enumerate(heads)]
    drawable = [item for item in drawn if _is_finite(item.head)]
    farthest_first = sorted(drawable, key=lambda item: -float(item.head.camera_T_face[2, 3]))
    for head, _ in farthest_first:
        if landmarks:
            _draw_landmarks(canvas, head)
    for head, label in farthest_first:
        stroke_px = _stroke(canvas, head.box)
        _draw_box(canvas, head.box, label.colour)
        draw_axes(canvas, head.camera_T_face, camera or head.camera, axes_length_m, stroke_px)
    if labels:
        draw_labels(canvas, [label for _, label in reversed(farthest_first)])
    return canvas


def _drawn(index: int, item: Any) -> _Drawn:
    """:param item: a head, with or without an identity."""
    head: HeadPose = getattr(item, "head", item)
    distance = f"{float(np.linalg.norm(head.camera_T_face[:3, 3])):.2f} m"
    identity, text = (index, distance) if head is item else (item.id, f"#{item.id} {distance}")
    return _Drawn(head, Label(text, np.asarray(head.box, np.float64), identity_colour(identity)))


def identity_colour(identity: int) -> Colour:
    """BGR colour of an identity."""
    return _IDENTITY_COLOURS_BGR[identity % len(_IDENTITY_COLOURS_BGR)]


def draw_axes(
    canvas: ImageArray, camera_T_frame: FloatArray, camera: CameraModel, length_m: float, stroke_px: float
) -> None:
    """Draws the three axes of a frame in place, the farthest first; none if the camera can't see all of them.

    :param canvas: (H, W, 3) uint8 BGR, drawn upon.
    :param camera_T_frame: (4, 4) pose of the frame in the camera's frame, metres.
    :param stroke_px: width of the lines in pixels.
    """
    origin, axes = camera_T_frame[:3, 3], camera_T_frame[:3, :3]
    steps = np.linspace(0.0, length_m, 9 if camera.is_distorted else 2)
    # (3 axes, steps, xyz)
    points = origin + axes.T[:, None, :] * steps[:, None]
    pixels = camera.project(points)
    if not np.all(np.isfinite(pixels)):
        return
    farthest_first = np.argsort(-axes[2])
    for axis in farthest_first:
        _draw_axis(canvas, pixels[axis], _AXIS_COLOURS_BGR[axis], stroke_px)
    _dot(canvas, pixels[0, 0], 0.9 * stroke_px, (255, 255, 255))


def _draw_axis(canvas: ImageArray, line: FloatArray, colour: Colour, stroke_px: float) -> None:
    """A line with an arrow's head where it is long enough, and a dot where it points at the camera."""
    thickness = max(1, round(stroke_px))
    outline = thickness + max(2, round(0.8 * stroke_px))
    tip, direction = line[-1], line[-1] - line[-2]
    length = float(np.linalg.norm(line[-1] - line[0]))
    head_length = 3.6 * stroke_px
    polyline = _fixed_point(line)
    if length < 1.5 * head_length:
        cv2.polylines(canvas, [polyline], False, _SHADOW_BGR, outline, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.polylines(canvas, [polyline], False, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        _dot(canvas, tip, 1.4 * stroke_px, colour)
        return
    along = direction / max(float(np.linalg.norm(direction)), 1e-9)
    across = np.array([-along[1], along[0]])
    barbs = tip - head_length * along
    half_width = 0.45 * head_length * across
    arrow = _fixed_point(np.stack([tip, barbs + half_width, barbs - half_width]))
    shaft = _fixed_point(np.concatenate([line[:-1], (tip - 0.8 * head_length * along)[None]]))
    cv2.polylines(canvas, [shaft], False, _SHADOW_BGR, outline, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.polylines(canvas, [arrow], True, _SHADOW_BGR, outline - thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.polylines(canvas, [shaft], False, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.fillConvexPoly(canvas, arrow, colour, cv2.LINE_AA, _SUBPIXEL_BITS)


def _dot(canvas: ImageArray, centre: FloatArray, radius_px: float, colour: Colour) -> None:
    scale = 1 << _SUBPIXEL_BITS
    x, y = (int(v) for v in _fixed_point(centre[None])[0])
    for radius, paint in ((radius_px + max(1.0, 0.4 * radius_px), _SHADOW_BGR), (radius_px, colour)):
        cv2.circle(canvas, (x, y), round(radius * scale), paint, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed_point(pixels: FloatArray) -> npt.NDArray[np.int32]:
    """(N, 2) pixels as OpenCV's fixed-point integers, kept out of the range that would overflow."""
    kept = np.clip(np.nan_to_num(pixels, nan=-_LARGEST_COORDINATE), -_LARGEST_COORDINATE, _LARGEST_COORDINATE)
    return np.round(kept * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _is_finite(head: HeadPose) -> bool:
    return bool(np.all(np.isfinite(head.camera_T_face)) and np.all(np.isfinite(head.box)))


def _face_size(box: npt.NDArray[np.floating]) -> float:
    """Geometric mean of a (4,) LTRB box's sides in pixels."""
    width, height = max(float(box[2] - box[0]), 1.0), max(float(box[3] - box[1]), 1.0)
    return float(np.sqrt(width * height))


def _stroke(canvas: ImageArray, box: npt.NDArray[np.floating]) -> float:
    """Width of the axes in pixels: grows with the face, slower than it, and with the image."""
    image_share = 0.0016 * float(np.hypot(*canvas.shape[:2]))
    return float(np.clip(0.022 * _face_size(box), max(1.2, 0.7 * image_share), max(2.5, 3.5 * image_share)))


def _draw_landmarks(canvas: ImageArray, head: HeadPose) -> None:
    """Blends soft dots into the image; near landmarks are lighter and denser than far ones.

    A thousand anti-aliased circles would be slow in OpenCV, so the dots are written into a coverage mask,
    ring by ring from outside in, and the touched pixels are blended at once.
    """
    pixels = np.asarray(head.landmarks_image, np.float64)
    depth = np.asarray(head.landmarks_camera, np.float64)[:, 2]
    height, width = canvas.shape[:2]
    # Fewer landmarks get larger dots; 1220 are the paper's.
    per_face = 0.0046 * np.sqrt(np.clip(1220 / max(len(pixels), 1), 1.0, 4.0))
    radius = float(np.clip(per_face * _face_size(head.box), 0.55, 6.0))
    reach = int(np.ceil(radius + 0.5))
    finite = np.isfinite(pixels).all(axis=1) & np.isfinite(depth)
    inside = finite & (np.abs(pixels[:, 0] - 0.5 * width) < 0.5 * width + reach)
    inside &= np.abs(pixels[:, 1] - 0.5 * height) < 0.5 * height + reach
    if not inside.any():
        return
    nearness = 1.0 - np.clip((depth - depth[finite].min()) / max(np.ptp(depth[finite]), 1e-6), 0.0, 1.0)
    # Far ones first: where two dots overlap the nearer is written last and stays.
    order = np.flatnonzero(inside)[np.argsort(nearness[inside])]
    pixels, nearness = pixels[order], nearness[order]
    left, top = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - reach, 0)
    right, bottom = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + reach + 1, [width, height])
    if left >= right or top >= bottom:
        return
    cover, near = _dot_coverage(pixels - [left, top], nearness, radius, (bottom - top, right - left))
    # In a small face the dots lie side by side, and would hide it.
    cover *= min(1.0, _DENSEST_COVER / max(float(cover.mean()), 1e-9))
    _blend(canvas[top:bottom, left:right], cover, near)


def _dot_coverage(
    pixels: FloatArray, nearness: FloatArray, radius: float, size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(H, W) coverage 0..1 of discs with a soft edge, and (H, W) nearness 0..1 of the disc at each pixel."""
    reach = int(np.ceil(radius + 0.5))
    cover = np.zeros((size[0] + 2 * reach, size[1] + 2 * reach), np.float32)
    near = np.zeros_like(cover)
    base = np.round(pixels).astype(np.intp)
    offsets = [(dx, dy) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    offsets = [offset for offset in offsets if np.hypot(*offset) <= radius + 1.0]
    for dx, dy in sorted(offsets, key=lambda offset: -np.hypot(*offset)):
        cell = base + [dx, dy]
        distance = np.hypot(*(cell - pixels).T)
        strength = np.clip(radius + 0.5 - distance, 0.0, 1.0).astype(np.float32)
        x = np.clip(cell[:, 0] + reach, 0, cover.shape[1] - 1)
        y = np.clip(cell[:, 1] + reach, 0, cover.shape[0] - 1)
        stronger = strength > cover[y, x]
        cover[y[stronger], x[stronger]] = strength[stronger]
        near[y[stronger], x[stronger]] = nearness[stronger]
    kept = slice(reach, reach + size[0]), slice(reach, reach + size[1])
    return cover[kept], near[kept]


def _blend(region: ImageArray, cover: npt.NDArray[np.float32], near: npt.NDArray[np.float32]) -> None:
    """Mixes the landmarks' colour into the touched pixels of a (h, w, 3) view, in place."""
    y, x = np.nonzero(cover)
    nearness = near[y, x][:, None]
    alpha = cover[y, x][:, None] * (0.45 + 0.5 * nearness)
    colour = _LANDMARK_FAR_BGR + nearness * (_LANDMARK_NEAR_BGR - _LANDMARK_FAR_BGR)
    region[y, x] = (region[y, x] * (1.0 - alpha) + colour * alpha + 0.5).astype(np.uint8)


def _draw_box(canvas: ImageArray, box: npt.NDArray[np.floating], colour: Colour) -> None:
    """Four corner brackets: they frame the face without hiding it."""
    left, top, right, bottom = (float(v) for v in box)
    arm = 0.16 * _face_size(box)
    thickness = max(1, round(0.55 * _stroke(canvas, box)))
    corners = ((left, top, 1, 1), (right, top, -1, 1), (right, bottom, -1, -1), (left, bottom, 1, -1))
    brackets = [
        _fixed_point(np.array([[x, y + sy * arm], [x, y], [x + sx * arm, y]])) for x, y, sx, sy in corners
    ]
    for paint, width in ((_SHADOW_BGR, thickness + 2), (colour, thickness)):
        cv2.polylines(canvas, brackets, False, paint, width, cv2.LINE_AA, _SUBPIXEL_BITS)
