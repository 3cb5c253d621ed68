"""What both painters agree on about light."""

import numpy as np

from trg_ros.synthetic.face_model import FACE_END, FaceModel

LUMINANCE = np.array([0.3, 0.6, 0.1])  # of linear RGB
HAIR_OPENNESS = 0.75
MIN_FACE_LUMINANCE = 1e-4  # darker faces are not made brighter


def specular_gain(model: FaceModel) -> np.ndarray:
    """(V,) float32: what is inside the head is dull, eyeballs are wet."""
    gain = np.ones(len(model.neutral), np.float32)
    eyeballs = slice(model.regions["sclera_left"].start, model.regions["iris_right"].stop)
    gain[FACE_END : eyeballs.start] = 0.3
    gain[eyeballs] = 2.5
    return gain
