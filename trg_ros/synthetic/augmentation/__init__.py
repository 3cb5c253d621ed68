"""From rendered heads to training crops: sloppy boxes, backgrounds, occluders, hair, and what cameras do."""

from trg_ros.synthetic.augmentation.augmenter import Augmenter, TrainingBatch
from trg_ros.synthetic.augmentation.config import AugmentationConfig

__all__ = ["AugmentationConfig", "Augmenter", "TrainingBatch"]
