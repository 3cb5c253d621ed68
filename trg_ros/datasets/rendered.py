"""Rendered heads (`trg-headpose render`) as samples: each stored window is the picture of a camera of its
own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.datasets.sample import HeadDataset, Sample
from trg_ros.errors import InputError
from trg_ros.geometry import make_transform, transform_points
from trg_ros.model.topology import Topology
from trg_ros.paths import user_path
from trg_ros.synthetic.dataset import RenderedDataset, RenderedSamples
from trg_ros.synthetic.landmark_set import default_landmark_set

BACKGROUND_BGR = (118, 122, 128)


class RenderedHeads(HeadDataset):
    """Samples of a folder of rendered shards, in front of a plain grey wall.

    A stored window is a square of H px in the normalised image plane; the camera with the focal length of H
    px over the window's side, and its principal point wherever the window leaves it, took exactly this
    picture.

    :raises DatasetError: when there are no shards or one is damaged.
    """

    title = "rendered heads"
    layout = (
        "shard_<first sample>/images.npy labels.npz info.json     made by: trg-headpose render --out ROOT",
    )

    def __init__(self, root: Path | str) -> None:
        try:
            self._rendered = RenderedDataset(user_path(root))
        except InputError as error:
            raise self.error(str(error)) from error
        chosen = default_landmark_set()
        self.topology: Topology = Topology(chosen.triangles, chosen.sampled, chosen.landmarks68, chosen.flip)
        if self._rendered.num_landmarks != len(chosen.vertices):
            raise self.error(
                f"{root}: {self._rendered.num_landmarks} landmarks; this version has {len(chosen.vertices)}"
            )

    def distances(self) -> NDArray[np.float64]:
        """(N,) metres from the camera to the head's origin, of all samples."""
        translations = []
        for shard in sorted(self._rendered.root.glob("shard_*")):
            with np.load(shard / "labels.npz") as labels:
                translations.append(labels["translation"])
        return np.linalg.norm(np.concatenate(translations)[: len(self)], axis=1).astype(np.float64)

    def __len__(self) -> int:
        return len(self._rendered)

    def sample(self, index: int) -> Sample:
        one = self._rendered.gather(np.array([index]))
        camera = window_camera(one)
        camera_T_head = make_transform(
            one.rotation[0].astype(np.float64), one.translation[0].astype(np.float64)
        )
        landmarks_head = one.landmarks_head[0].astype(np.float64)
        points68 = transform_points(camera_T_head, landmarks_head[self.topology.landmarks68])
        center, half = one.box[0, :2].astype(np.float64), float(one.box[0, 2]) / 2
        picture = one.images[0]
        return Sample(
            name=f"sample {index}",
            sequence="rendered",
            camera=camera,
            box=(np.concatenate([center - half, center + half]) * camera.fx + [camera.cx, camera.cy] * 2),
            load_image=lambda: before_wall(picture),
            camera_T_head=camera_T_head,
            landmarks_head=landmarks_head,
            landmarks68_image=camera.project(points68),
        )


def window_camera(one: RenderedSamples) -> CameraModel:
    """The camera whose full picture is the stored window of the first of these samples."""
    size = len(one.images[0])
    focal = float(size / (one.margin * one.box[0, 2]))
    cx, cy = (size / 2 - 0.5) - focal * one.box[0, :2].astype(np.float64)
    return CameraModel.pinhole(focal, focal, float(cx), float(cy), size, size)


def before_wall(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR of premultiplied RGB and coverage (H, W, 4)."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2BGR).astype(np.float32)
    free = 1 - rgba[..., 3:].astype(np.float32) / 255
    return np.clip(bgr + free * np.array(BACKGROUND_BGR, np.float32) + 0.5, 0, 255).astype(np.uint8)
