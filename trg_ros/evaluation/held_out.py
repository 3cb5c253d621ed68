"""The held-out rendered crops as a data set: the paper's protocol on exactly what training measures."""

from __future__ import annotations

import numpy as np

from trg_ros.crop import crop_camera
from trg_ros.datasets.sample import HeadDataset, Sample
from trg_ros.evaluation.rendered import HeldOutSet
from trg_ros.geometry import make_transform, transform_points
from trg_ros.model.topology import Topology
from trg_ros.synthetic.landmark_set import default_landmark_set


class HeldOutHeads(HeadDataset):
    """Each crop is the whole picture of a camera, and its own box: a network that reads crops of `size` px is
    given them unchanged."""

    title = "held-out rendered heads"
    layout = ()

    def __init__(self, held_out: HeldOutSet, size: int, second_look_scale: float = 1.0) -> None:
        chosen = default_landmark_set()
        self.topology: Topology = Topology(chosen.triangles, chosen.sampled, chosen.landmarks68, chosen.flip)
        self._batch = held_out.crops(size, second_look_scale)
        self._size = size

    def __len__(self) -> int:
        return len(self._batch.box)

    def sample(self, index: int) -> Sample:
        batch, size = self._batch, self._size
        camera = crop_camera(batch.box[index], size)
        pose = make_transform(
            batch.rotation[index].astype(np.float64), batch.translation[index].astype(np.float64)
        )
        landmarks_head = batch.landmarks_head[index].astype(np.float64)
        points68 = transform_points(pose, landmarks_head[self.topology.landmarks68])
        crop = batch.crops[index]
        return Sample(
            name=f"head {index}",
            sequence="rendered",
            camera=camera,
            box=np.array([0.0, 0.0, size - 1.0, size - 1.0]),
            load_image=lambda: np.ascontiguousarray(crop[..., ::-1]),
            camera_T_head=pose,
            landmarks_head=landmarks_head,
            landmarks68_image=camera.project(points68),
        )
