"""ARKitFace (Kao et al., 2023): 902,724 frames of 500 people with ARKit's face mesh and pose.

The labels are ARKit's: OpenGL axes (x right, y up, z towards the viewer), matrices for row vectors, metres.
Turning the y and z axes around, in the head and in the camera, gives the package's frames.
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.crop import box_from_landmarks68
from trg_ros.datasets.files import (
    check_array,
    check_rotation,
    image_reader,
    image_size,
    read_array,
    read_arrays,
)
from trg_ros.datasets.sample import HeadDataset, Sample, evenly
from trg_ros.datasets.symmetry import mirror_index
from trg_ros.errors import InputError
from trg_ros.geometry import transform_points
from trg_ros.model.topology import Topology
from trg_ros.paths import user_path
from trg_ros.plain_pickle import UNREADABLE, read_pickle_entry

Array = NDArray[np.float64]

NUM_VERTICES = 1220
SPLITS = ("train", "test")
# Our axes in OpenGL's: half a turn about x. It is its own inverse.
_TURN = np.diag([1.0, -1.0, -1.0, 1.0])
_COLUMNS = ("subject_id", "facial_action", "img_id")
_FACES_FOR_MIRROR = 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ARKitAssets:
    """The side files that belong to ARKit's face mesh, wherever they were downloaded.

    projection  (4, 4) OpenGL projection of row vectors.
    topology    triangles, the 68 key points, the sampled subset, and the mirror index if it swaps in pairs.
    flip        (1220,) the mirror index as it is, or None.
    """

    projection: Array
    topology: Topology
    flip: NDArray[np.int64] | None


class ARKitFace(HeadDataset):
    """One split of ARKitFace, in the order of its list.

    :param root: the folder that holds the lists, pictures and labels (see `layout`).
    :param assets: the folder of the side files; None: the root, or its subfolder `npy`.
    :raises DatasetError: for missing or broken lists and side files; a sample's own files are read with the
        sample.
    """

    title = "ARKitFace"
    layout = (
        "ARKitFace_list/list/ARKitFace_<train|test>.csv     columns subject_id, facial_action, img_id",
        "ARKitFace_image_<train|test>/image/<subject_id>/<facial_action>/<img_id>_ar.jpg",
        "ARKitFace_info_<train|test>/info/<subject_id>/<facial_action>/<img_id>_info.npz     verts, R_t",
        "npy/kpt_ind.npy npy/projection_matrix.txt npy/triangles.npy npy/arkit_subsample.pkl     or --assets",
        "npy/flip_index.npy     optional: mirror index; without it one is found from the faces",
    )

    def __init__(self, root: Path | str, split: str = "test", assets: Path | str | None = None) -> None:
        if split not in SPLITS:
            raise InputError(f"ARKitFace has the splits {' and '.join(SPLITS)}, not {split!r}")
        self.root, self.split = user_path(root), split
        self.assets = read_assets(_assets_folder(self.root, assets))
        self.topology = self.assets.topology
        self._rows = _read_list(self.root / "ARKitFace_list" / "list" / f"ARKitFace_{split}.csv")

    @cached_property
    def flip(self) -> NDArray[np.int64] | None:
        """The authors' mirror index, or our own, found from a mean face of this data."""
        if self.assets.flip is not None:
            return self.assets.flip
        chosen = evenly(self, _FACES_FOR_MIRROR)
        faces = [sample.landmarks_head for sample in chosen if sample.landmarks_head is not None]
        try:
            return mirror_index(np.mean(faces, axis=0), self.assets.topology.landmarks68)
        except InputError as error:
            _log.warning("training pictures are not mirrored: there is no flip_index.npy, and %s", error)
            return None

    def __len__(self) -> int:
        return len(self._rows)

    def sample(self, index: int) -> Sample:
        subject, action, picture = self._rows[index]
        place = Path(subject) / action
        image = self.root / f"ARKitFace_image_{self.split}" / "image" / place / f"{picture}_ar.jpg"
        info = self.root / f"ARKitFace_info_{self.split}" / "info" / place / f"{picture}_info.npz"
        labels = read_arrays(info, {"verts": (NUM_VERTICES, 3), "R_t": (4, 4)}, self.error)
        camera_T_head = pose_from_arkit(labels["R_t"], str(info))
        landmarks_head = points_from_arkit(labels["verts"])
        size = image_size(image, self.error)
        camera = camera_from_projection(self.assets.projection, *size)
        points68 = landmarks_head[self.assets.topology.landmarks68]
        landmarks68_image = camera.project(transform_points(camera_T_head, points68))
        return Sample(
            name=str(image.relative_to(self.root)),
            sequence=subject,
            camera=camera,
            box=box_from_landmarks68(landmarks68_image, truncate=True),
            load_image=image_reader(image, size, self.error),
            camera_T_head=camera_T_head,
            landmarks_head=landmarks_head,
            landmarks68_image=landmarks68_image,
        )


def points_from_arkit(verts: Array) -> Array:
    """Points (N, 3) of ARKit's face anchor in the head frame."""
    return verts * np.diag(_TURN)[:3]


def pose_from_arkit(row_matrix: Array, what: str = "R_t") -> Array:
    """camera_T_head (4, 4) from ARKit's R_t (4, 4): row vectors, OpenGL axes on both sides.

    :raises DatasetError: when it is not a rigid motion that puts the head before the camera.
    """
    check_rotation(row_matrix[:3, :3], f"{what}: the upper left of R_t", ARKitFace.error)
    if np.abs(row_matrix[:, 3] - (0, 0, 0, 1)).max() > 1e-4:
        raise ARKitFace.error(
            f"{what}: the last column of R_t is {row_matrix[:, 3].tolist()}, expected 0 0 0 1"
        )
    if row_matrix[3, 2] >= 0:
        raise ARKitFace.error(
            f"{what}: R_t puts the head behind the camera (z {row_matrix[3, 2]:g}, OpenGL axes)"
        )
    return _TURN @ row_matrix.T @ _TURN


def camera_from_projection(projection: Array, width: int, height: int) -> CameraModel:
    """The pinhole camera of an OpenGL projection matrix (4, 4) for row vectors, and of a picture of some
    size.

    The middle of the viewport is pixel (w/2, h/2), the convention of the labels' authors and of TRG's
    release.

    :raises DatasetError: when the matrix is no perspective projection.
    """
    if (
        abs(projection[2, 3] + 1) > 1e-6
        or projection[0, 0] <= 0
        or projection[1, 1] <= 0
        or projection[3, 3] != 0
    ):
        raise ARKitFace.error(
            f"the projection matrix {projection.tolist()} is no OpenGL perspective for row vectors"
        )
    half_width, half_height = width / 2, height / 2
    return CameraModel.pinhole(
        projection[0, 0] * half_width,
        projection[1, 1] * half_height,
        half_width * (1 - projection[2, 0]),
        half_height * (1 + projection[2, 1]),
        width,
        height,
    )


def read_assets(folder: Path) -> ARKitAssets:
    """:raises DatasetError: naming the side file that is missing or broken."""
    fail = ARKitFace.error
    try:
        projection = np.loadtxt(folder / "projection_matrix.txt", dtype=np.float64)
        subsample = read_pickle_entry((folder / "arkit_subsample.pkl").read_bytes(), "1220_to_305")
    except UNREADABLE as error:
        raise fail(f"can't read the side files in {folder}: {error}") from error
    check_array(projection, (4, 4), f"{folder / 'projection_matrix.txt'}", fail)
    landmarks68 = read_array(folder / "kpt_ind.npy", fail).reshape(-1)
    triangles = read_array(folder / "triangles.npy", fail)
    flip = _read_flip(folder)
    try:
        topology = Topology(triangles, np.asarray(subsample), landmarks68)
        topology.validate(NUM_VERTICES)
    except InputError as error:
        raise fail(f"{folder}: {error}") from error
    if flip is not None and np.array_equal(flip[flip], np.arange(NUM_VERTICES)):
        topology = replace(topology, flip=flip)
    return ARKitAssets(projection, topology, flip)


def _read_flip(folder: Path) -> NDArray[np.int64] | None:
    """The authors' mirror index, if it is there."""
    path = folder / "flip_index.npy"
    if not path.exists():
        return None
    flip = read_array(path, ARKitFace.error).reshape(-1)
    if (
        flip.shape != (NUM_VERTICES,)
        or flip.dtype.kind not in "iu"
        or flip.max() >= NUM_VERTICES
        or flip.min() < 0
    ):
        raise ARKitFace.error(f"{path} is {flip.dtype} {flip.shape}, expected {NUM_VERTICES} vertex numbers")
    return flip.astype(np.int64)


def _assets_folder(root: Path, assets: Path | str | None) -> Path:
    if assets is not None:
        return user_path(assets)
    return root if (root / "kpt_ind.npy").exists() else root / "npy"


def _read_list(path: Path) -> list[tuple[str, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise ARKitFace.error(f"{path} has no column {missing[0]!r}; it has {found}")
            rows = []
            for row in reader:
                subject, action, picture = (row[name] for name in _COLUMNS)
                if not (subject and action and picture):
                    raise ARKitFace.error(f"{path}: line {reader.line_num} is incomplete")
                rows.append((subject, action, picture))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ARKitFace.error(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not rows:
        raise ARKitFace.error(f"{path} lists no frame")
    return rows
