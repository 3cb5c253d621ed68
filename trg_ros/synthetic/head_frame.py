"""The axes of the head frame: those of the mean face, laid onto what is rigid in a face.

In its scan's own axes a face stands as that person happened to be held: the same rigid parts are pitched by
1.1 degrees (standard deviation), which no picture shows. Laid onto the nose and the sides of the face in
front of the ears, which hardly move with the mouth and the brows, poses of different people compare, and what
is in the picture decides them.
"""

import numpy as np

from trg_ros.geometry import nearest_rotation
from trg_ros.synthetic.face_model import FaceModel

#: Name of these axes in a data set's ``info.json``.
HEAD_FRAME = "rigid"
#: Of the 68 Multi-PIE landmarks: the upper ends of the jaw line, bridge and base of the nose.
RIGID68 = (0, 1, 2, 3, 13, 14, 15, 16, 27, 28, 29, 30, 31, 32, 33, 34, 35)
_MIRRORED68 = (16, 15, 14, 13, 3, 2, 1, 0, 27, 28, 29, 30, 35, 34, 33, 32, 31)


def rigid_reference(model: FaceModel) -> np.ndarray:
    """The rigid landmarks of the neutral face, (17, 3) metres about their middle, mirror-symmetric."""
    points = model.to_head_frame(model.neutral[model.landmarks68].astype(np.float64))
    symmetric = 0.5 * (points[list(RIGID68)] + points[list(_MIRRORED68)] * [-1, 1, 1])
    return symmetric - symmetric.mean(axis=0)


def scan_R_head(landmarks68: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(..., 3, 3): turns the head frame's axes into those of the scan, in which 68 landmarks (..., 68, 3) are
    given; the best rigid fit of a ``reference`` (17, 3) to them."""
    rigid = np.asarray(landmarks68, np.float64)[..., list(RIGID68), :]
    rigid = rigid - rigid.mean(axis=-2, keepdims=True)
    return nearest_rotation(rigid.swapaxes(-1, -2) @ reference)
