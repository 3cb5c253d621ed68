"""Stand-ins for rendered heads, whose labels are known by construction."""

import numpy as np

from trg_ros.crop import centered_box
from trg_ros.synthetic.landmark_set import default_landmark_set

MARGIN = 1.7  # side of the picture over that of the box
SIDE = 64


def fake_samples(count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Heads of plausible geometry whose picture is a bright disc at each of the 68 landmarks."""
    rng = np.random.default_rng(seed)
    chosen = default_landmark_set()
    half = rng.uniform([-0.08, -0.1, -0.03], [0.08, 0.1, 0.05], (count, len(chosen.vertices), 3))
    landmarks = ((half + half[:, chosen.flip] * [-1, 1, 1]) / 2).astype(np.float32)
    angle = rng.uniform(-0.5, 0.5, count)
    rotation = np.zeros((count, 3, 3), np.float32)
    rotation[:, 0, 0] = rotation[:, 2, 2] = np.cos(angle)
    rotation[:, 0, 2], rotation[:, 2, 0], rotation[:, 1, 1] = np.sin(angle), -np.sin(angle), 1
    translation = rng.uniform([-0.2, -0.2, 0.5], [0.2, 0.2, 1.5], (count, 3)).astype(np.float32)
    points = landmarks[:, chosen.landmarks68] @ rotation.transpose(0, 2, 1) + translation[:, None]
    box = centered_box(points[..., :2] / points[..., 2:]).astype(np.float32)
    images = np.zeros((count, SIDE, SIDE, 4), np.uint8)
    pixels = (
        (points[..., :2] / points[..., 2:] - box[:, None, :2]) / (MARGIN * box[:, None, 2:]) + 0.5
    ) * SIDE - 0.5
    for image, marks in zip(images, pixels, strict=True):
        for x, y in np.rint(marks).astype(int):
            image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return images, {"rotation": rotation, "translation": translation, "landmarks_head": landmarks, "box": box}
