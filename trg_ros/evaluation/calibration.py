"""Do the covariances that come with poses tell the truth about their errors?

Errors over their standard deviations have a mean square of 1 per axis, and 95 % of the errors lie inside the
95 % ellipsoids. Larger mean squares or smaller shares mean too much confidence.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from tqdm import tqdm

from trg_ros.checkpoint import Checkpoint
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.evaluation.groups import MIN_SAMPLES, pose_masks
from trg_ros.evaluation.looks import VIEW, Looks, full_looks, joined_looks, scene_size, single_looks
from trg_ros.evaluation.rendered import HELD_OUT_SEED, HeldOutSet
from trg_ros.heads import pose_covariances

Array = NDArray[np.float64]

AXES = ("x", "y", "z", "rx", "ry", "rz")
INSIDE_95 = float(chi2.ppf(0.95, len(AXES)))


def calibration(errors: Array, covariances: Array) -> dict[str, Any]:
    """Of errors (N, 6) and their covariances (N, 6, 6): the mean square of the normalised error by axis, and
    the share inside the 95 % ellipsoids."""
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    mean_square = (errors**2 / variances).mean(axis=0)
    distance = (errors * np.linalg.solve(covariances, errors[..., None])[..., 0]).sum(axis=1)
    return {
        "samples": len(errors),
        "mean_square": {axis: float(f"{v:.3g}") for axis, v in zip(AXES, mean_square, strict=True)},
        "inside_95": float(f"{(distance < INSIDE_95).mean():.4g}"),
    }


def calibration_report(looks: Looks, checkpoint: Checkpoint) -> dict[str, Any]:
    """The same of looks, in all and by bins of yaw and distance."""
    errors = looks.errors()
    covariances = pose_covariances(looks.result, looks.windows, checkpoint)
    bins = {name: mask for name, mask in pose_masks(looks.truth).items() if mask.sum() >= MIN_SAMPLES}
    return {
        **calibration(errors, covariances),
        "by": {name: calibration(errors[mask], covariances[mask]) for name, mask in bins.items()},
    }


def held_out_looks(estimator: HeadPoseEstimator, held_out: HeldOutSet) -> dict[str, Looks]:
    """``one_look``: at the sloppy box of each crop of the set; ``all_looks``: what the estimator makes of a
    picture, from such a box on; ``tracked``: one look as trackers have it."""
    size, rng = estimator.checkpoint.config.input_size, np.random.default_rng(HELD_OUT_SEED)
    tracked = HeldOutSet(held_out.dataset, held_out.count, "tracked")
    scenes = held_out.scenes(scene_size(size), VIEW)
    parts = [full_looks(estimator, batch, rng) for batch in tqdm(scenes, "all looks", leave=False)]
    return {
        "all_looks": joined_looks(parts),
        "one_look": single_looks(estimator.backend, held_out.crops(size)),
        "tracked": single_looks(estimator.backend, tracked.crops(size)),
    }
