"""300W-LP (Zhu et al., 2016): 122,450 pictures of 3,837 photos turned to large poses, with 68 image
landmarks.

The pictures come from the web, their cameras are unknown; only the 2D terms of the loss may use them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from trg_ros.camera import CameraModel
from trg_ros.crop import box_from_landmarks68
from trg_ros.datasets.boxes import move_into_image
from trg_ros.datasets.files import check_array, image_reader, image_size, read_lines
from trg_ros.datasets.sample import HeadDataset, Sample
from trg_ros.datasets.symmetry import FLIP68
from trg_ros.paths import user_path

Array = NDArray[np.float64]

#: Focal length in px that TRG's release assumes for these pictures.
ASSUMED_FOCAL = 5000.0
_MIRRORED = "_Flip"


class W300LP(HeadDataset):
    """All pictures that files.txt names.

    Landmarks are those of `landmarks/`, where hidden points lie where they would be seen through the head;
    the folder has none for mirrored pictures, theirs are made from the originals'. Without it, `pt2d` beside
    the picture is used.

    :raises DatasetError: when files.txt is missing or empty.
    """

    title = "300W-LP"
    layout = (
        "files.txt     one <set>/<name> a line, without .jpg",
        "<AFW|HELEN|IBUG|LFPW>[_Flip]/<name>.jpg",
        "landmarks/<AFW|HELEN|IBUG|LFPW>/<name>_pts.mat     pts_3d 68x2 in px",
        "<set>/<name>.mat     pt2d 2x68 in px; read where landmarks/ is missing",
    )

    def __init__(self, root: Path | str) -> None:
        self.root = user_path(root)
        self._names = [line.removesuffix(".jpg") for line in read_lines(self.root / "files.txt", self.error)]
        if not self._names:
            raise self.error(f"{self.root / 'files.txt'} names no picture")

    def __len__(self) -> int:
        return len(self._names)

    def sample(self, index: int) -> Sample:
        name = self._names[index]
        image = self.root / f"{name}.jpg"
        size = image_size(image, self.error)
        landmarks68_image = self._landmarks68(name, size[0])
        return Sample(
            name=f"{name}.jpg",
            sequence=Path(name).parent.name,
            camera=CameraModel.pinhole(ASSUMED_FOCAL, ASSUMED_FOCAL, size[0] / 2, size[1] / 2, *size),
            box=move_into_image(box_from_landmarks68(landmarks68_image, truncate=True), *size),
            load_image=image_reader(image, size, self.error),
            landmarks68_image=landmarks68_image,
        )

    def _landmarks68(self, name: str, width: int) -> Array:
        """(68, 2) px of the picture as it is on disk, mirrored or not."""
        folder, stem = Path(name).parent, Path(name).name
        common = self.root / "landmarks" / folder.name.replace(_MIRRORED, "") / f"{stem}_pts.mat"
        if not (self.root / "landmarks").is_dir():
            return _read_matrix(self.root / f"{name}.mat", "pt2d", (2, 68)).T
        points = _read_matrix(common, "pts_3d", (68, 2))
        return mirror_points68(points, width) if folder.name.endswith(_MIRRORED) else points


def mirror_points68(points_px: Array, width: int) -> Array:
    """The 68 landmarks (68, 2) px of a picture's mirror image."""
    return points_px[FLIP68] * (-1, 1) + (width - 1, 0)


def _read_matrix(path: Path, key: str, shape: tuple[int, int]) -> Array:
    fail = W300LP.error
    if not path.is_file():
        raise fail(f"can't read {path}: no such file")
    try:
        values = loadmat(path, variable_names=[key])
    except Exception as error:  # whatever a damaged file makes the reader stumble over
        raise fail(f"can't read {path}: {error}") from error
    if key not in values:
        raise fail(f"{path} has no variable {key!r}")
    try:
        matrix = np.asarray(values[key], np.float64)
    except (TypeError, ValueError) as error:
        raise fail(f"{path}: {key} holds no numbers") from error
    check_array(matrix, shape, f"{path}: {key}", fail)
    return matrix
