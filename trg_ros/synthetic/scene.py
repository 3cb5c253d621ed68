"""Whole pictures of rendered heads, seen by a pinhole camera: for tests, demonstrations and detector
training."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from trg_ros.errors import InputError
from trg_ros.synthetic.person import Placement, PoseRange, draw_placement, draw_shape
from trg_ros.synthetic.render import BOX_FACTOR, HeadRenderer

WINDOW_MARGIN = 3.0  # box sides: takes in hair and shoulders
MAX_WINDOW_SIDE = 1400  # pixels


@dataclass(frozen=True)
class HeadInScene:
    """One head's labels. Units: metres, camera frame; pixels with integer centres.

    camera_T_head: (4, 4). landmarks_head: (V, 3) head frame. landmarks68_image: (68, 2) px.
    box: (4,) left, top, right, bottom of the TRG box, px (square in the normalised image plane).
    """

    camera_T_head: np.ndarray
    landmarks_head: np.ndarray
    landmarks68_image: np.ndarray
    box: np.ndarray
    attributes: dict[str, float]


@dataclass(frozen=True)
class Scene:
    """image_bgr: (H, W, 3) uint8. heads: from far to near, as they were painted."""

    image_bgr: np.ndarray
    heads: list[HeadInScene]


def render_scene(
    renderer: HeadRenderer,
    intrinsics: np.ndarray,
    background_bgr: np.ndarray,
    placements: Sequence[Placement],
    seed: int,
    expressive: bool = True,
) -> Scene:
    """Put one random head per placement over a background.

    :param intrinsics: (3, 3) pinhole matrix in pixels; fx and fy may differ, no skew.
    :param placements: camera_R_head and head origin in the camera frame, metres, z > 0.1.
    :param seed: head k looks as drawn from (seed, k).
    :raises InputError: for a head that is not in front of the camera.
    """
    order = sorted(range(len(placements)), key=lambda k: -placements[k].translation[2])
    image = background_bgr.astype(np.float32)
    heads = []
    for k in order:
        if placements[k].translation[2] < 0.1:
            raise InputError(
                f"head {k} is at z = {placements[k].translation[2]:.3f} m; it must be at least 0.1 m ahead"
            )
        heads.append(
            _paint_head(
                renderer, intrinsics, image, placements[k], np.random.default_rng([seed, k]), expressive
            )
        )
    return Scene(np.clip(image + 0.5, 0, 255).astype(np.uint8), heads)


def random_placements(
    count: int, intrinsics: np.ndarray, width: int, height: int, seed: int
) -> list[Placement]:
    """Heads at random places inside the picture, 0.4 to 2.5 m away; they may overlap."""
    pose = PoseRange(yaw_limit=70, pitch_limit=35, roll_limit=40, distance=(0.4, 2.5))
    rng = np.random.default_rng([seed, 77])
    placements = []
    for _ in range(count):
        drawn = draw_placement(pose, rng)
        pixel = rng.uniform([0.2 * width, 0.25 * height], [0.8 * width, 0.7 * height])
        plane = (pixel - intrinsics[:2, 2]) / intrinsics[[0, 1], [0, 1]]
        placements.append(Placement(drawn.rotation, np.array([*plane, 1.0]) * drawn.translation[2]))
    return placements


def _paint_head(
    renderer: HeadRenderer, intrinsics: np.ndarray, image: np.ndarray, placement: Placement,
    rng: np.random.Generator, expressive: bool,
) -> HeadInScene:  # fmt: skip
    """Render one head and put it over the float image, in place."""
    model, chosen = renderer.model, renderer.landmark_set
    identity, expression = draw_shape(model, rng)
    if not expressive:
        expression = expression * 0
    vertices = model.shapes(identity[None], expression[None])[0]
    landmarks = model.to_head_frame(vertices[chosen.vertices])
    points68 = landmarks[chosen.landmarks68] @ placement.rotation.T + placement.translation
    plane = points68[:, :2] / points68[:, 2:]
    low, high = plane.min(axis=0), plane.max(axis=0)
    box = np.array([*(low + high) / 2, BOX_FACTOR * (high - low).max()])
    focal, center = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    side = int(np.clip(np.ceil(box[2] * WINDOW_MARGIN * focal.max()), 48, MAX_WINDOW_SIDE))
    window, attributes = renderer.picture(vertices, expression, placement, box, WINDOW_MARGIN, rng, side)
    _blend(image, window, box, focal, center)
    camera_T_head = np.eye(4)
    camera_T_head[:3, :3], camera_T_head[:3, 3] = placement.rotation, placement.translation
    corners = np.array([box[:2] - box[2] / 2, box[:2] + box[2] / 2]) * focal + center
    return HeadInScene(camera_T_head, landmarks, plane * focal + center, corners.reshape(4), attributes)


def _blend(
    image: np.ndarray, window: np.ndarray, box: np.ndarray, focal: np.ndarray, center: np.ndarray
) -> None:
    """Resample the window (S, S, 4) premultiplied RGBA into the picture's pixels and put it over them, in
    place."""
    side = window.shape[0]
    scale = side / (box[2] * WINDOW_MARGIN)
    offset = -(box[:2] + center / focal) * scale + side / 2 - 0.5
    window_from_image = np.array([[scale / focal[0], 0, offset[0]], [0, scale / focal[1], offset[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    layer = cv2.warpAffine(window.astype(np.float32), window_from_image, image.shape[1::-1], flags=flags)
    image *= 1 - layer[..., 3:] / 255
    image += layer[..., 2::-1]
