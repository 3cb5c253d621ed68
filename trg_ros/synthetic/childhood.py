"""Children's proportions, for a face model that was made of scanned adults.

What changes while a face grows up, in short: the skull and the eyes are nearly full-grown early, the face
below the eyes lengthens for two decades, noses and chins come forward, cheeks lose their fat. So a child is a
small adult with these undone. The amounts were chosen by eye, on rendered pictures. Model space as in
`trg_ros.synthetic.face_model`: centimetres, y up, z out of the face.
"""

import numpy as np

from trg_ros.synthetic.face_model import FaceModel

SHORTER_BELOW_EYES = 0.14
HIGHER_FOREHEAD = 0.07
LARGER_EYES = 0.15
SHORTER_NOSE = 0.40
NARROWER_JAW = 0.06
CHEEK_BULGE = 0.35  # centimetres
CHIN_BACK = 0.35


def childlike_offsets(model: FaceModel) -> np.ndarray:
    """What takes the neutral adult (V, 3) to a toddler's proportions at an adult's size, float32
    centimetres; a share of it makes older children."""
    adult = model.neutral.astype(np.float64)
    points68 = adult[model.landmarks68]
    chin, tip, under_nose, mouth = points68[8], points68[30], points68[33], points68[48:60].mean(axis=0)
    eyes = [adult[model.regions[f"sclera_{side}"]].mean(axis=0) for side in ("left", "right")]
    eye_level = eyes[0][1]
    below = np.clip(eye_level - adult[:, 1], 0, eye_level - chin[1])
    above = np.clip(adult[:, 1] - eye_level, 0, None)
    out = np.zeros_like(adult)
    out[:, 1] = SHORTER_BELOW_EYES * below + HIGHER_FOREHEAD * above
    lower = np.clip((mouth[1] + 2 - adult[:, 1]) / 4, 0, 1) * _near(adult, chin, 9)
    out[:, 0] -= NARROWER_JAW * lower * adult[:, 0]
    out[:, 2] -= CHIN_BACK * _near(adult, chin, 2.5)
    out[:, 2] -= SHORTER_NOSE * (tip[2] - under_nose[2] + 1) * _near(adult, tip, 1.6)
    for eye in eyes:
        out += LARGER_EYES * _within(adult, eye, 1.5, 3.2)[:, None] * (adult - eye)
    for side in (-1, 1):
        cheek = np.array([side * 4.6, mouth[1] + 0.6, 8.6])
        outward = np.array([side * 0.7, 0, 0.7])
        out += CHEEK_BULGE * _near(adult, cheek, 2.0)[:, None] * outward
    return out.astype(np.float32)


def _near(points: np.ndarray, center: np.ndarray, width: float) -> np.ndarray:
    """1 at the centre, a Gaussian around it, (V,)."""
    return np.exp(-((points - center) ** 2).sum(axis=1) / (2 * width**2))


def _within(points: np.ndarray, center: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """1 up to a distance, so that eyeballs stay round, and 0 from another one on, (V,)."""
    t = np.clip((outer - np.linalg.norm(points - center, axis=1)) / (outer - inner), 0, 1)
    return t * t * (3 - 2 * t)
