"""How strongly training crops are spoiled."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AugmentationConfig:
    """Strengths; probabilities of the pixel effects are multiplied by ``photometric`` (0 switches them off);
    ``clear_...``: pictures as good cameras take them in daylight, with fewer. ``settled_...``: crops as a
    second look sees them, from a virtual camera turned to the head, upright with it but for a few degrees, in
    a box that is nearly right. ``hair_probability``: of long hair over a face that looks roughly at the
    camera. ``tracked_...``: crops as trackers cut them: turned and upright like those, in TRG's box, which is
    where the head was expected to be. ``focal_error``: a camera's true focal length over the one that its
    calibration says, log-uniform; labels are then what the wrong calibration makes of the head.
    """

    roll_probability: float = 0.6
    roll_degrees: float = 40.0
    wide_roll_probability: float = 0.1
    wide_roll_degrees: float = 180.0
    flip_probability: float = 0.5
    center_jitter: float = 0.15
    wide_center_jitter: float = 0.22
    scale_sigma: float = 0.08
    settled_probability: float = 0.0
    settled_roll_sigma_degrees: float = 5.0
    settled_center_jitter: float = 0.04
    settled_scale_sigma: float = 0.04
    tracked_probability: float = 0.0
    tracked_center_jitter: float = 0.08
    tracked_scale_sigma: float = 0.06
    photometric: float = 1.0
    clear_probability: float = 0.0
    clear_photometric: float = 0.25
    hair_probability: float = 0.0
    focal_error_probability: float = 0.0
    focal_error: tuple[float, float] = (0.7, 2.8)
