"""What every data set gives: one labelled head in one picture, in the package's own frames and units."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from trg_ros.camera import CameraModel
from trg_ros.errors import DatasetError
from trg_ros.geometry import transform_points
from trg_ros.model.topology import Topology

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """One head. Metres; camera and head frame as in `trg_ros.geometry`; pixels of the full picture.

    name               what a person finds the picture by: its path inside the data set.
    sequence           subject, recording or subset that the picture belongs to.
    camera             the camera that took the picture, of the picture's size.
    box                (4,) left, top, right, bottom in px, square.
    load_image         reads the picture: (H, W, 3) uint8 BGR.
    camera_T_head      (4, 4), or None where the pose is not known.
    landmarks_head     (V, 3) the dense landmarks of the data set's topology, or None.
    landmarks68_image  (68, 2) px, or None.
    mesh_head          (M, 3) vertices of a head of any other topology, where there are no landmarks_head.
    """

    name: str
    sequence: str
    camera: CameraModel
    box: Array
    load_image: Callable[[], NDArray[np.uint8]]
    camera_T_head: Array | None = None
    landmarks_head: Array | None = None
    landmarks68_image: Array | None = None
    mesh_head: Array | None = None

    @property
    def has_pose(self) -> bool:
        """Whether the true pose is known."""
        return self.camera_T_head is not None

    @property
    def has_3d(self) -> bool:
        """Whether the 3D terms of the loss can be computed."""
        return self.camera_T_head is not None and self.landmarks_head is not None

    @property
    def vertices_head(self) -> Array | None:
        """The points (N, 3) that ADD is measured on: the landmarks, else the mesh."""
        return self.mesh_head if self.landmarks_head is None else self.landmarks_head

    @property
    def landmarks_camera(self) -> Array | None:
        """(V, 3) in the camera frame."""
        if self.camera_T_head is None or self.landmarks_head is None:
            return None
        return transform_points(self.camera_T_head, self.landmarks_head)


class HeadDataset(Sequence[Sample]):
    """A data set as a sequence of samples; reading one touches only its own files.

    title     the name that people know it by.
    layout    the files that it is made of, one path per line, relative to its root.
    topology  of its dense landmarks, or None if it has none.
    """

    title: ClassVar[str]
    layout: ClassVar[tuple[str, ...]]
    topology: Topology | None = None

    @property
    def flip(self) -> NDArray[np.int64] | None:
        """(V,) which landmark is where each one is in a mirror; None if that is not known."""
        return None if self.topology is None else self.topology.flip

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """Sample 0 <= index < len(self). :raises DatasetError: for a missing or broken file, naming it."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Subset(self, range(*index.indices(len(self))))
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"sample {index} of {count}")
        return self.sample(index % count)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(len(self)))

    @classmethod
    def error(cls, message: str) -> DatasetError:
        """The error for something missing or broken, with the expected layout below the message."""
        return DatasetError("\n  ".join([f"{message}\nexpected layout of {cls.title}:", *cls.layout]))


class Subset(HeadDataset):
    """Some samples of a data set, in a given order."""

    def __init__(self, dataset: HeadDataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices
        self.title, self.layout = dataset.title, dataset.layout  # type: ignore[misc]
        self.topology = dataset.topology

    @property
    def flip(self) -> NDArray[np.int64] | None:
        return self.dataset.flip

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int) -> Sample:
        return self.dataset.sample(int(self.indices[index]))


def evenly(dataset: HeadDataset, count: int) -> Subset:
    """About `count` samples, spread evenly over the data set."""
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    return Subset(dataset, indices.tolist())
