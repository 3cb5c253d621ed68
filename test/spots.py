"""Finding the bright spots that the fixtures draw where landmarks are."""

import numpy as np


def brightest_near(image: np.ndarray, point: np.ndarray, reach: int = 3) -> np.ndarray:
    """Centre (2,) of the spot at a predicted position, by its centroid above half its height."""
    u, v = np.round(point).astype(int)
    window = image[v - reach : v + reach + 1, u - reach : u + reach + 1, 0].astype(float)
    weight = np.clip(window - 40, 0, None) ** 2
    rows, columns = np.mgrid[v - reach : v + reach + 1, u - reach : u + reach + 1]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def lonely(points: np.ndarray, distance: float) -> np.ndarray:
    """Which of the points (N, 2) have no other within a distance."""
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    return gaps.min(axis=1) > distance
