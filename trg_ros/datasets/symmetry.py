"""Mirror images of faces: which of the 68 landmarks is which on the other side."""

import numpy as np
from numpy.typing import NDArray


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
