"""People who walk about in front of a camera, cross, hide each other and leave; the truth is known.

A network that answers from that truth, with noise, and a detector that overlooks things: the tracker is
tested over minutes without a face being drawn.
"""

import numpy as np
from discs import LANDMARKS, RADIUS, checkpoint

from trg_ros.backends import NetworkResult
from trg_ros.camera import CameraModel
from trg_ros.crop import box_from_landmarks68
from trg_ros.detection import Detections
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.evaluation.sequences import Crowd

CAMERA = CameraModel.pinhole(500, 500, 319.5, 239.5, 640, 480)


class People(Crowd):
    """Everybody has colours, which change a little with the light and the way they look."""

    def __init__(self, count, seed):
        super().__init__(count, seed)
        rng = np.random.default_rng([seed, 1])
        self._colors = np.array([120, 140, 190]) * np.exp(0.2 * rng.standard_normal((3, count, 3)))
        self._tint = rng.uniform(0, 2 * np.pi, (count, 3))

    def visible(self, time_s, apart=1.4):
        """(N,) not covered, not behind a nearer head or body, and in the image.

        :param apart: so many radii of the nearer head it must be away: 1.4 for those who have to be found.
        """
        places = self.places(time_s)
        pixels = CAMERA.project(places)
        radius = CAMERA.fx * RADIUS / places[:, 2]
        visible = ((pixels > 0) & (pixels < [CAMERA.width - 1, CAMERA.height - 1])).all(axis=1)
        offset = pixels[:, None] - pixels[None]
        offset[..., 1] = np.minimum(offset[..., 1], 0.0)  # below a head there is a body
        nearer = places[None, :, 2] < places[:, None, 2] - 1e-9
        visible &= ~(nearer & (np.linalg.norm(offset, axis=2) < apart * radius[None])).any(axis=1)
        if self.covered(time_s) is not None:
            visible[self.covered(time_s)] = False
        return visible

    def noticeable(self, time_s):
        """(N,) who can be found."""
        return self.visible(time_s, apart=0.9)

    def picture(self, time_s):
        """(480, 640, 3) uint8 of their colours, as far as they are visible; enough to tell them apart by."""
        image = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
        places, visible = self.places(time_s), self.noticeable(time_s)
        tint = np.exp(0.06 * np.sin(0.9 * time_s + self._tint))
        for person in np.argsort(-places[:, 2]):
            if visible[person]:
                radius = CAMERA.fx * RADIUS / places[person, 2]
                middle = CAMERA.project(places[person][None])[0]
                for part, (top, bottom) in enumerate(
                    [(-1.1, 1.1), (-1.8, -1.1), (1.1, 2.8)]
                ):  # face, hair, body
                    left, low = np.rint(middle + radius * np.array([-1.3, top])).astype(int)
                    right, high = np.rint(middle + radius * np.array([1.3, bottom])).astype(int)
                    rows, columns = slice(max(low, 0), max(high, 0)), slice(max(left, 0), max(right, 0))
                    image[rows, columns] = np.clip(self._colors[part, person] * tint[person], 0, 255)
        return image


class AllKnowingBackend:
    """Answers with the visible head nearest to the middle of a window, as a network would, give or take."""

    name, device = "truth", "cpu"

    def __init__(self, seed):
        self.heads = np.zeros((0, 3))
        self.camera_R_virtual = np.eye(3)[None]
        self._rng = np.random.default_rng(seed)

    def infer(self, crops_rgb, boxes):
        boxes = boxes.astype(float)
        places = np.concatenate([boxes[:, :2], np.ones((len(boxes), 1))], axis=1)
        places *= (3 * RADIUS / boxes[:, 2])[:, None]
        sure = np.zeros(len(boxes), bool)
        if len(self.heads):
            heads = (
                self.heads @ self.camera_R_virtual
            )  # (windows, heads, 3), as each virtual camera sees them
            apart = np.linalg.norm(boxes[:, None, :2] - heads[..., :2] / heads[..., 2:], axis=2)
            best = apart.argmin(axis=1)
            sure = apart.min(axis=1) < 0.5 * boxes[:, 2]
            places[sure] = heads[sure, best[sure]]
        places *= 1 + 0.02 * self._rng.standard_normal((len(boxes), 1))
        places[:, :2] += 0.005 * self._rng.standard_normal((len(boxes), 2))
        points = LANDMARKS[None, :68] + places[:, None]
        second = 2 * (points[..., :2] / points[..., 2:] - boxes[:, None, :2]) / boxes[:, None, 2:]
        second[~sure] += 0.4
        identity = np.tile(np.eye(3, dtype=np.float32), (len(boxes), 1, 1))
        points68 = np.tile(LANDMARKS[:68], (len(boxes), 1, 1))
        shape = np.tile(LANDMARKS.reshape(1, -1), (len(boxes), 1))
        return NetworkResult(points68, identity, places.astype(np.float32), second.astype(np.float32), shape)


class OverlookingDetector:
    """Finds the visible heads, but misses one in ten, and sees a ghost in one image of fifty."""

    def __init__(self, seed):
        self.heads = np.zeros((0, 3))
        self._rng = np.random.default_rng(seed)

    def detect(self, image_bgr):
        seen = self.heads[self._rng.random(len(self.heads)) > 0.1]
        boxes = [box_from_landmarks68(CAMERA.project(LANDMARKS[:68] + place)) for place in seen]
        boxes = [box + self._rng.normal(0, 2, 4) for box in boxes]
        if self._rng.random() < 0.02:
            left, top = self._rng.uniform(0, 400, 2)
            boxes.append(np.array([left, top, left + 60, top + 60]))
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))

    def trg_boxes(self, detections):
        return detections.boxes


class _KnowingEstimator(HeadPoseEstimator):
    """Tells its backend where the virtual cameras look."""

    def _infer(self, crops_rgb, windows, mirror=False):
        self._backend.camera_R_virtual = windows.camera_R_virtual
        return super()._infer(crops_rgb, windows, mirror)


def estimator(seed):
    """With its backend and its detector, whose `heads` are what they see."""
    backend, detector = AllKnowingBackend(seed), OverlookingDetector(seed + 1)
    weights = checkpoint(8)
    weights.info.measured_errors["translation_std_relative"] = (0.005, 0.005, 0.02)
    return _KnowingEstimator(weights, backend, detector), backend, detector
