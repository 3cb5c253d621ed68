"""BIWI Kinect Head Pose (Fanelli et al., 2013): 15,678 frames of 20 people in 24 sequences; for tests.

Poses are given in the depth camera's frame, in millimetres; rgb.cal holds the colour camera and where it is.
Head and camera axes are the package's own (x right, y down, z away from the camera).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import square_box
from trg_ros.datasets.boxes import move_into_image, read_boxes
from trg_ros.datasets.files import check_array, check_rotation, image_reader, read_lines, read_numbers
from trg_ros.datasets.sample import HeadDataset, Sample
from trg_ros.errors import CameraError
from trg_ros.geometry import make_transform, transform_points
from trg_ros.paths import user_path

Array = NDArray[np.float64]

BOX_TABLE = "boxes.csv"
MESH_BOXES = "mesh"
#: Side of the box over the larger extent of the projected head mesh, where boxes come from the truth.
MESH_BOX_SCALE = 0.9
_METRES = 1e-3  # the files are in millimetres


class BIWI(HeadDataset):
    """All frames of all sequences that are there, in order.

    :param root: the folder of the sequences, or one that has it as `hpdb`.
    :param boxes: a file for `read_boxes` (None: boxes.csv in the root), or "mesh" for boxes around the true
        head. Frames without a box are left out and counted in `without_box`.
    :raises DatasetError: when there are no sequences or no boxes.
    """

    title = "BIWI"
    layout = (
        "<01..24>/frame_<number>_rgb.png",
        "<01..24>/frame_<number>_pose.txt     rotation 3x3, then translation in mm, depth camera's frame",
        "<01..24>/rgb.cal     intrinsics 3x3, distortion 4, rotation 3x3, translation in mm, size",
        "<01..24>.obj     head mesh in mm",
        "boxes.csv     image, left, top, right, bottom in px; or --boxes FILE (also the release's)",
    )

    def __init__(self, root: Path | str, boxes: Path | str | None = None) -> None:
        root = user_path(root)
        self.root = root / "hpdb" if (root / "hpdb").is_dir() else root
        poses = sorted(self.root.glob("[0-9][0-9]/frame_*_pose.txt"))
        if not poses:
            raise self.error(f"{self.root} has no frames <sequence>/frame_<number>_pose.txt")
        self._boxes: dict[str, Array] | None = None
        if boxes != MESH_BOXES:
            self._boxes = self._read_boxes(boxes)
            poses = [path for path in poses if self._image_name(path) in self._boxes]
        self._poses = poses
        self.without_box = 0 if self._boxes is None else self._count_frames() - len(poses)
        if not poses:
            raise self.error(
                f"none of the frames in {self.root} has a box; names: <sequence>/frame_<number>_rgb.png"
            )

    def __len__(self) -> int:
        return len(self._poses)

    def sample(self, index: int) -> Sample:
        pose = self._poses[index]
        name, sequence = self._image_name(pose), pose.parent.name
        camera, rgb_T_depth = read_calibration(pose.parent / "rgb.cal")
        camera_T_head = rgb_T_depth @ read_pose(pose)
        mesh = read_head_mesh(self.root / f"{sequence}.obj")
        if self._boxes is None:
            box = _box_around(camera.project(transform_points(camera_T_head, mesh)))
        else:
            box = self._boxes[name]
        size = (camera.width, camera.height)
        return Sample(
            name=name,
            sequence=sequence,
            camera=camera,
            box=move_into_image(box, *size),
            load_image=image_reader(self.root / name, size, self.error),
            camera_T_head=camera_T_head,
            mesh_head=mesh,
        )

    @staticmethod
    def _image_name(pose: Path) -> str:
        return f"{pose.parent.name}/{pose.name.replace('_pose.txt', '_rgb.png')}"

    def _count_frames(self) -> int:
        return sum(1 for _ in self.root.glob("[0-9][0-9]/frame_*_pose.txt"))

    def _read_boxes(self, boxes: Path | str | None) -> dict[str, Array]:
        path = self.root / BOX_TABLE if boxes is None else user_path(boxes)
        if not path.exists():
            raise self.error(
                f"there are no boxes at {path}: give the release's annotation file, let a detector make them "
                "(trg-headpose check-data biwi ROOT --detect-boxes), or use 'mesh' for boxes of the truth"
            )
        return read_boxes(path)


@lru_cache(maxsize=64)
def read_calibration(path: Path) -> tuple[CameraModel, Array]:
    """The colour camera of an rgb.cal, and rgb_T_depth (4, 4) in metres."""
    fail = BIWI.error
    intrinsics, distortion, rotation, translation, size = read_numbers(path, (9, 4, 9, 3, 2), fail)
    check_rotation(rotation.reshape(3, 3), f"{path}: the rotation", fail)
    try:
        camera = CameraModel.from_matrix(intrinsics, int(size[0]), int(size[1]), distortion)
    except CameraError as error:
        raise fail(f"{path}: {error}") from error
    return camera, make_transform(rotation.reshape(3, 3), translation * _METRES)


def read_pose(path: Path) -> Array:
    """depth_T_head (4, 4) in metres of a frame_*_pose.txt."""
    rotation, translation = read_numbers(path, (9, 3), BIWI.error)
    check_rotation(rotation.reshape(3, 3), f"{path}: the rotation", BIWI.error)
    return make_transform(rotation.reshape(3, 3), translation * _METRES)


@lru_cache(maxsize=64)
def read_head_mesh(path: Path) -> Array:
    """Vertices (M, 3) of a Wavefront .obj in metres, head frame."""
    rows = [line.split()[1:4] for line in read_lines(path, BIWI.error) if line.startswith("v ")]
    try:
        mesh = np.array(rows, np.float64) * _METRES
    except ValueError as error:
        raise BIWI.error(f"{path} is no Wavefront mesh: {error}") from error
    check_array(mesh, (None, 3), f"{path}: vertices", BIWI.error)
    return mesh


def _box_around(points_px: Array) -> Array:
    """Square box LTRB px, corners cut to whole pixels, around a head's projected mesh (M, 2)."""
    return np.trunc(
        square_box(np.concatenate([points_px.min(axis=0), points_px.max(axis=0)]), MESH_BOX_SCALE)
    )
