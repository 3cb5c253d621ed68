"""Pictures of samples for people: a head cut out with its landmarks and axes drawn, and sheets of many."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows, crop_camera, cut_windows
from trg_ros.datasets.sample import Sample
from trg_ros.geometry import HEAD_R_FACE, head_T_face, make_transform
from trg_ros.model.topology import Topology
from trg_ros.visualization import draw_axes

Array = NDArray[np.float64]
ImageArray = NDArray[np.uint8]

_TILE_SIDE = 240
_COLUMNS = 6
_MARGIN = 1.25
_TEXT_BGR = (240, 240, 240)
_POINT_BGR = (255, 255, 140)
_POINT68_BGR = (60, 200, 255)


def cut_tile(sample: Sample) -> tuple[ImageArray, CameraModel]:
    """The picture (240, 240, 3) BGR around a sample's box, and the pinhole camera that took it."""
    window = CropWindows.from_boxes(sample.camera, sample.box, turn=False)
    larger = window.scaled(_MARGIN)
    tile = cut_windows(sample.load_image(), sample.camera, larger, _TILE_SIDE)[0]
    return tile, crop_camera([*larger.center[0], *larger.size], _TILE_SIDE)


def draw_sample(sample: Sample, topology: Topology | None = None) -> ImageArray:
    """A tile with all that the labels say: vertices, the 68 landmarks, the box and the axes of the face."""
    tile, camera = cut_tile(sample)
    if sample.camera_T_head is not None and sample.vertices_head is not None:
        draw_points(tile, camera, sample.camera_T_head, sample.vertices_head)
    if sample.landmarks68_image is not None:
        for u, v in camera.project(_rays(sample.camera.unproject(sample.landmarks68_image))):
            _dot(tile, (u, v), 1.6, _POINT68_BGR)
    corners = camera.project(_rays(sample.camera.unproject(sample.box.reshape(2, 2)))).round().astype(int)
    cv2.rectangle(tile, tuple(map(int, corners[0])), tuple(map(int, corners[1])), (150, 150, 150), 1)
    if sample.camera_T_head is not None:
        draw_axes(tile, face_pose(sample, topology), camera, 0.08, 2.0)
    return tile


def draw_points(tile: ImageArray, camera: CameraModel, camera_T_head: Array, points_head: Array) -> None:
    """Up to about 600 of the points (N, 3) of a head, in place."""
    chosen = points_head[:: max(1, len(points_head) // 600)]
    for pixel in camera.project(chosen @ camera_T_head[:3, :3].T + camera_T_head[:3, 3]):
        if np.isfinite(pixel).all():
            _dot(tile, pixel, 0.7, _POINT_BGR)


def face_pose(sample: Sample, topology: Topology | None) -> Array:
    """camera_T_face (4, 4) of the truth; at the head's origin where the sellion is not known."""
    if sample.camera_T_head is None:
        raise ValueError(f"{sample.name} has no pose")
    if topology is None or sample.landmarks_head is None:
        return sample.camera_T_head @ make_transform(HEAD_R_FACE, np.zeros(3))
    return sample.camera_T_head @ head_T_face(sample.landmarks_head[topology.sellion])


def sheet(tiles: Sequence[ImageArray], captions: Sequence[str]) -> ImageArray:
    """Equal tiles (S, S, 3) side by side, a line of text under each."""
    side, strip = tiles[0].shape[0], 18
    rows = -(-len(tiles) // _COLUMNS)
    columns = min(_COLUMNS, len(tiles))
    canvas = np.full((rows * (side + strip), columns * side, 3), 32, np.uint8)
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        top, left = index // columns * (side + strip), index % columns * side
        canvas[top : top + side, left : left + side] = tile
        place = (left + 3, top + side + strip - 5)
        text = caption if len(caption) < 35 else f"...{caption[-31:]}"
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, _TEXT_BGR, 1, cv2.LINE_AA)
    return canvas


def _rays(plane: Array) -> Array:
    return np.concatenate([plane, np.ones((*plane.shape[:-1], 1))], axis=-1)


def _dot(
    image: ImageArray, pixel: Sequence[float] | Array, radius: float, colour: tuple[int, int, int]
) -> None:
    x, y = (round(float(np.clip(value, -1e4, 1e4)) * 16) for value in pixel)
    cv2.circle(image, (x, y), round(16 * radius), colour, -1, cv2.LINE_AA, 4)
