"""What a checkpoint says about rendered heads, with the truth: after one look at a given box, or as users get
it, from a sloppy box in a picture through all looks."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from trg_ros.backends import Backend, NetworkResult
from trg_ros.backends.protocol import joined
from trg_ros.crop import CropWindows, crop_camera
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.evaluation.metrics import PoseSet
from trg_ros.model.topology import SELLION
from trg_ros.synthetic.augmentation import TrainingBatch
from trg_ros.synthetic.landmark_set import default_landmark_set
from trg_ros.uncertainty import face_origin
from trg_ros.windows import windows_of_boxes

Array = NDArray[np.float64]

#: Side of a picture over that of the face's box in it: as much as a rendered sample shows.
VIEW = 1.7
#: Pixels of the face's box in a picture per pixel of the network's crop.
_OVERSAMPLING = 1.25
_LOOKS_MORE = 2  # as `HeadPoseEstimator.estimate` has it
_CENTER_JITTER, _SIZE_SIGMA = 0.15, 0.08  # of a face detector's boxes
_CHUNK = 64


@dataclass(frozen=True)
class Looks:
    """N last looks at heads, and the heads' true poses in the real cameras."""

    result: NetworkResult
    windows: CropWindows
    truth: PoseSet

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, chosen: slice | NDArray) -> "Looks":
        return Looks(self.result[chosen], self.windows[chosen], self.truth.select(chosen))

    def errors(self) -> Array:
        """(N, 6) of the face frame, in the real camera's: place in metres, and the rotation vector from the
        true to the estimated pose."""
        camera_R_virtual = self.windows.camera_R_virtual
        place = np.einsum("nij,nj->ni", camera_R_virtual, face_origin(self.result))
        sellion = default_landmark_set().landmarks68[SELLION]
        face = self.truth.landmarks_head[:, sellion]
        true_place = np.einsum("nij,nj->ni", self.truth.rotation, face) + self.truth.translation
        turn = camera_R_virtual @ self.result.rotation @ self.truth.rotation.transpose(0, 2, 1)
        return np.concatenate([place - true_place, Rotation.from_matrix(turn).as_rotvec()], axis=1)

    def residuals(self) -> Array:
        """(N, 6) the same as an uncertainty head speaks of them: in the virtual cameras, place over depth."""
        errors = self.errors().reshape(-1, 2, 3) @ self.windows.camera_R_virtual
        errors[:, 0] /= face_origin(self.result)[:, 2:]
        return errors.reshape(-1, 6)


def joined_looks(parts: Iterable[Looks]) -> Looks:
    """All of them in order."""
    parts = list(parts)
    truth = [np.concatenate([getattr(part.truth, f.name) for part in parts]) for f in fields(PoseSet)]
    windows = CropWindows.concatenate([part.windows for part in parts])
    return Looks(joined([part.result for part in parts]), windows, PoseSet(*truth))


def single_looks(backend: Backend, batch: TrainingBatch) -> Looks:
    """One look at each crop of a batch."""
    windows = CropWindows(
        batch.box[:, :2].astype(np.float64),
        batch.box[:, 2].astype(np.float64),
        np.tile(np.eye(3), (len(batch.box), 1, 1)),
    )
    truth = PoseSet(batch.rotation, batch.translation, batch.landmarks_head)
    parts = []
    for first in range(0, len(batch.box), _CHUNK):
        part = slice(first, first + _CHUNK)
        result = backend.infer(batch.crops[part], batch.box[part])
        parts.append(Looks(result, windows[part], truth.select(part)))
    return joined_looks(parts)


def scene_size(input_size: int) -> int:
    """Side in pixels of pictures for a network with crops of ``input_size`` px."""
    return round(VIEW * _OVERSAMPLING * input_size)


def full_looks(estimator: HeadPoseEstimator, scenes: TrainingBatch, rng: np.random.Generator) -> Looks:
    """Each picture from a face detector's box through all looks of :meth:`HeadPoseEstimator.estimate`.

    :param scenes: pictures as `HeldOutSet.scenes` makes them with VIEW.
    """
    size, parts = scenes.crops.shape[1], []
    middle, face = (size - 1) / 2, (size - 1) / VIEW
    for i, box in enumerate(scenes.box):
        camera = crop_camera(box, size)
        center = middle + face * _CENTER_JITTER * rng.uniform(-1, 1, 2)
        half = 0.5 * face * np.exp(_SIZE_SIGMA * rng.standard_normal())
        windows = windows_of_boxes(camera, np.concatenate([center - half, center + half])[None])
        image_bgr = np.ascontiguousarray(scenes.crops[i, ..., ::-1])
        found = estimator.estimate_windows(image_bgr, camera, windows, np.array([_LOOKS_MORE]))
        row = slice(i, i + 1)
        truth = PoseSet(scenes.rotation[row], scenes.translation[row], scenes.landmarks_head[row])
        parts.append(Looks(found.result, found.windows, truth))
    return joined_looks(parts)
