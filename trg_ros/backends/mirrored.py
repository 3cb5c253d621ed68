"""Looking twice at the same crop, once in a mirror: the two errors are only half related."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.protocol import Backend, Crops, NetworkResult
from trg_ros.geometry import nearest_rotation
from trg_ros.model.topology import Topology

_MIRROR = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)


class MirroredBackend:
    """A back end that looks at each crop and at its mirror image, both at once, and gives the mean pose.

    Shapes and scores are those of the first look; where the 2D head sees the 68 landmarks is the mean.

    :param flip68: (68,) int, the Multi-PIE landmark on the other side of the face.
    """

    def __init__(self, backend: Backend, flip68: NDArray[np.int64]) -> None:
        self._backend = backend
        self._flip68 = flip68

    @property
    def name(self) -> str:
        """What runs the network."""
        return f"{self._backend.name}, mirrored"

    @property
    def device(self) -> str:
        """Where it runs."""
        return self._backend.device

    def infer(self, crops_rgb: Crops, boxes: NDArray[np.float32]) -> NetworkResult:
        """As :meth:`Backend.infer`, at twice the number of crops."""
        count = len(crops_rgb)
        both = self._backend.infer(
            _with_mirror_images(crops_rgb), np.concatenate([boxes, boxes * _MIRROR.diagonal()])
        )
        plain, mirrored = both[:count], both[count:]
        rotation = plain.rotation + _MIRROR @ mirrored.rotation @ _MIRROR
        landmarks68 = plain.landmarks68_crop + (mirrored.landmarks68_crop * [-1, 1])[:, self._flip68]
        return dataclasses.replace(
            plain,
            rotation=nearest_rotation(rotation).astype(np.float32),
            translation=(0.5 * (plain.translation + mirrored.translation @ _MIRROR)).astype(np.float32),
            landmarks68_crop=(0.5 * landmarks68).astype(np.float32),
        )


def _with_mirror_images(crops: Crops) -> Crops:
    if isinstance(crops, np.ndarray):
        return np.concatenate([crops, crops[:, :, ::-1]])
    import torch

    return torch.cat([crops, crops.flip(2)])


def mirrored(backend: Backend, topology: Topology) -> Backend:
    """The back end with a mirror, or as it is for landmarks that aren't symmetric."""
    if topology.flip is None:
        return backend
    place = {landmark: index for index, landmark in enumerate(topology.landmarks68.tolist())}
    flip68 = np.array([place.get(other, -1) for other in topology.flip[topology.landmarks68].tolist()])
    return MirroredBackend(backend, flip68) if (flip68 >= 0).all() else backend
