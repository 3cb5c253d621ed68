"""Mirror images of faces: which landmark is which on the other side."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RBFInterpolator
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from trg_ros.errors import InputError


def _flip68() -> NDArray[np.int64]:
    """Multi-PIE: the jaw, brows, nostrils, eyes and lips in their mirrored order."""
    flip = np.arange(68)
    for first, last in ((0, 16), (17, 26), (31, 35), (48, 54), (55, 59), (60, 64), (65, 67)):
        flip[first : last + 1] = np.arange(last, first - 1, -1)
    flip[36:42] = [45, 44, 43, 42, 47, 46]
    flip[42:48] = [39, 38, 37, 36, 41, 40]
    return flip


#: Where each of the 68 Multi-PIE landmarks goes when the face is mirrored.
FLIP68 = _flip68()
FLIP68.setflags(write=False)


def mirror_index(face: ArrayLike, landmarks68: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which point is where each one is in a mirror, found from a single face.

    The mirrored face is bent like thin plates until its 68 landmarks lie on those of the other side; then
    each point is paired with the one that it has come to lie on. So the face need not be symmetric to the
    millimetre, nor its middle at x = 0.

    :param face: (V, 3) points of a face at rest, any unit.
    :param landmarks68: (68,) which of them are the Multi-PIE landmarks.
    :returns: (V,) indices that swap the points in pairs; those on the midline stay.
    :raises InputError: when the pairs found aren't mutual: the face is not symmetric enough.
    """
    face = np.asarray(face, np.float64)
    mirrored = face * (-1, 1, 1)
    size = float(np.ptp(face, axis=0).max())
    try:
        bend = RBFInterpolator(
            mirrored[landmarks68] / size,
            face[landmarks68[FLIP68]],
            kernel="thin_plate_spline",
            smoothing=1e-8,
        )
    except np.linalg.LinAlgError as error:
        raise InputError(f"the 68 landmarks don't span a face: {error}") from error
    flip = linear_sum_assignment(cdist(bend(mirrored / size), face, "sqeuclidean"))[1].astype(np.int64)
    alone = int((flip[flip] != np.arange(len(flip))).sum())
    if alone:
        raise InputError(f"{alone} of {len(flip)} points found no partner in the mirror")
    return flip
