"""A world of green discs that stand in for faces, with a network and a detector that see nothing else.

So the estimator and the tracker are tested through real images, real cameras and real crops, against a truth
that is known by construction, before and independently of any weights.
"""

from types import SimpleNamespace

import cv2
import numpy as np

from trg_ros.backends import NetworkResult
from trg_ros.checkpoint import CheckpointInfo
from trg_ros.crop import box_from_landmarks68, square_box
from trg_ros.detection import Detections
from trg_ros.model.topology import Topology

RADIUS = 0.08  # metres: of every head in this world
_ANGLES = np.linspace(0, 2 * np.pi, 68, endpoint=False)
LANDMARKS = np.concatenate(
    [RADIUS * np.stack([np.cos(_ANGLES), np.sin(_ANGLES), 0 * _ANGLES], axis=1), np.zeros((4, 3))]
).astype(np.float32)
TOPOLOGY = Topology(np.array([[0, 1, 2]]), np.arange(30), np.arange(68))


def draw(camera, centers, greens=None):
    """Image (H, W, 3) of discs with centres (N, 3) in the camera frame.

    They face the camera, as the virtual cameras of second looks face them.
    """
    image = np.full((camera.height, camera.width, 3), 20, np.uint8)
    for index, center in enumerate(np.asarray(centers, float)):
        normal = center / np.linalg.norm(center)
        x = np.cross([0, 1, 0], normal) / np.linalg.norm(np.cross([0, 1, 0], normal))
        rim = center + RADIUS * (LANDMARKS[:68, :1] * x + LANDMARKS[:68, 1:2] * np.cross(normal, x)) / RADIUS
        _fill(image, camera, center, normal, camera.project(rim), 200 if greens is None else greens[index])
    return image


def _fill(image, camera, center, normal, rim_pixels, green):
    """Paint each pixel by how much of it lies inside the disc, along its own ray."""
    size = (camera.width, camera.height)
    low = np.clip(np.floor(rim_pixels.min(axis=0)).astype(int) - 2, 0, size)
    high = np.clip(np.ceil(rim_pixels.max(axis=0)).astype(int) + 3, 0, size)
    if (high <= low).any():
        return
    v, u = np.mgrid[low[1] : high[1], low[0] : high[0]]
    rays = camera.rays(np.stack([u, v], axis=-1))
    on_plane = rays * ((center @ normal) / (rays @ normal))[..., None]
    distance = np.linalg.norm(on_plane - center, axis=-1)
    pixel = np.pi * RADIUS / np.linalg.norm(np.diff(rim_pixels, axis=0), axis=1).sum() * 2
    inside = np.clip(np.nan_to_num((RADIUS - distance) / pixel, nan=-1.0) + 0.5, 0, 1)
    part = image[v, u].astype(float)
    image[v, u] = np.rint(part + inside[..., None] * (np.array([20, green, 20]) - part))


class DiscBackend:
    """Finds the green disc next to the crop's centre, and answers with a head in its place.

    Without one it answers with an average head, as a real network would, and its second opinion differs.
    """

    device, name = "cpu", "discs"

    def __init__(self):
        self.batches = []

    def infer(self, crops_rgb, boxes):
        assert crops_rgb.dtype == np.uint8 and boxes.dtype == np.float32 and len(crops_rgb) == len(boxes)
        self.batches.append(len(crops_rgb))
        found = [_disc(crop) for crop in crops_rgb]
        sure = np.array([disc is not None for disc in found])
        x, y, radius = np.array([disc or (0.0, 0.0, 1 / 3) for disc in found]).T
        boxes = boxes.astype(float)
        depth = RADIUS / (radius * boxes[:, 2])
        plane = boxes[:, :2] + boxes[:, 2:] * np.stack([x, y], axis=1)
        translation = np.concatenate([plane, np.ones((len(boxes), 1))], axis=1) * depth[:, None]
        second = 2 * (np.stack([x, y], axis=1)[:, None] + radius[:, None, None] * LANDMARKS[:68, :2] / RADIUS)
        second[~sure] += 0.4
        count = len(boxes)
        return NetworkResult(
            np.tile(LANDMARKS[:68], (count, 1, 1)),
            np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
            translation.astype(np.float32),
            second.astype(np.float32),
            np.tile(LANDMARKS.reshape(1, -1), (count, 1)),
        )


class DiscDetector:
    """Boxes of the discs at least ``min_side`` pixels wide; score from how green they are."""

    def __init__(self, min_side=8):
        self.calls = 0
        self.blind = False
        self.min_side = min_side

    def detect(self, image_bgr):
        self.calls += 1
        if self.blind:
            return Detections()
        _, _, stats, _ = cv2.connectedComponentsWithStats((image_bgr[..., 1] > 90).astype(np.uint8))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:] if min(w, h) >= self.min_side]
        scores = [image_bgr[int((t + b) / 2), int((x + r) / 2), 1] / 255 for x, t, r, b in boxes]
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4), np.minimum(1, np.array(scores, np.float32))
        )

    def trg_boxes(self, detections):
        return square_box(detections.boxes, 1.4).astype(np.float32)


def checkpoint(size=96, second_look_scale=1.0):
    """What the estimator reads of a checkpoint."""
    return SimpleNamespace(
        config=SimpleNamespace(input_size=size, second_look_scale=second_look_scale),
        topology=TOPOLOGY,
        info=CheckpointInfo(name="discs"),
        uncertainty=None,
    )


def box_of(camera, center):
    """The TRG box LTRB px of a disc."""
    return box_from_landmarks68(camera.project(LANDMARKS[:68] + np.asarray(center)))


def _disc(crop_rgb):
    """x, y and radius over the crop's side, of the disc nearest to its centre; None without one."""
    count, _, stats, centers = cv2.connectedComponentsWithStats((crop_rgb[..., 1] > 110).astype(np.uint8))
    size = len(crop_rgb)
    candidates = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 30]
    if not candidates:
        return None
    best = min(candidates, key=lambda i: np.linalg.norm(centers[i] - (size - 1) / 2))
    rough = np.sqrt(stats[best, cv2.CC_STAT_AREA] / np.pi)
    v, u = np.mgrid[:size, :size]
    near = np.hypot(u - centers[best][0], v - centers[best][1]) < 1.2 * rough + 2
    green = crop_rgb[..., 1].astype(float)
    coverage = near * np.clip((green - 20) / (np.percentile(green[near], 60) - 20), 0, 1)
    area = coverage.sum()
    x, y = np.array([(u * coverage).sum(), (v * coverage).sum()]) / area / (size - 1) - 0.5
    return float(x), float(y), float(np.sqrt(area / np.pi) / (size - 1))
