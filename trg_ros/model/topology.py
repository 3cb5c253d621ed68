"""The landmarks' topology: which triangles, which subset, which of them are the 68 everybody knows."""

from dataclasses import dataclass

import numpy as np

from trg_ros.errors import InputError

SELLION = 27  # of the 68 Multi-PIE landmarks: the bridge of the nose


@dataclass(frozen=True, eq=False)
class Topology:
    """Indices into the V dense landmarks, all int64.

    triangles    (T, 3), wound so that all normals agree.
    sampled      (S,) landmarks that TRG samples and feeds back between its iterations.
    landmarks68  (68,) the Multi-PIE / iBUG landmarks.
    flip         (V,) where each landmark goes when the face is mirrored; None if it is not symmetric.
    """

    triangles: np.ndarray
    sampled: np.ndarray
    landmarks68: np.ndarray
    flip: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Take any integer arrays. :raises InputError: for other types or shapes."""
        for name, shape in (
            ("triangles", (None, 3)),
            ("sampled", (None,)),
            ("landmarks68", (68,)),
            ("flip", (None,)),
        ):
            value = getattr(self, name)
            if value is None and name == "flip":
                continue
            array = np.asarray(value)
            if array.dtype.kind not in "iu":
                raise InputError(f"topology: {name} must hold integers, not {array.dtype}")
            fits = array.ndim == len(shape) and all(
                s in (None, n) for s, n in zip(shape, array.shape, strict=True)
            )
            if not fits or array.size == 0:
                raise InputError(f"topology: {name} must have shape {shape}, not {array.shape}")
            object.__setattr__(self, name, np.ascontiguousarray(array, dtype=np.int64))

    @property
    def sellion(self) -> int:
        """Index of the landmark that is the face frame's origin (REP 155)."""
        return int(self.landmarks68[SELLION])

    @property
    def edges(self) -> np.ndarray:
        """(E, 2) int64, each edge of the triangles once, lower index first."""
        pairs = self.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        return np.unique(np.sort(pairs, axis=1), axis=0)

    def validate(self, num_landmarks: int, num_sampled: int | None = None) -> None:
        """:raises InputError: when an index does not fit `num_landmarks` landmarks, naming the array; or when
        other than `num_sampled` are sampled."""
        for name in ("triangles", "sampled", "landmarks68", "flip"):
            array = getattr(self, name)
            if array is not None and (array.min() < 0 or array.max() >= num_landmarks):
                raise InputError(
                    f"topology: {name} has indices from {array.min()} to {array.max()}; "
                    f"there are {num_landmarks} landmarks"
                )
        if len(np.unique(self.sampled)) != len(self.sampled):
            raise InputError("topology: sampled names a landmark twice")
        if num_sampled is not None and len(self.sampled) != num_sampled:
            raise InputError(f"topology: {len(self.sampled)} sampled, the model wants {num_sampled}")
        if self.flip is not None:
            identity = np.arange(num_landmarks)
            if len(self.flip) != num_landmarks or not np.array_equal(self.flip[self.flip], identity):
                raise InputError(f"topology: flip must swap the {num_landmarks} landmarks in pairs")
