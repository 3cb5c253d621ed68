"""The held-out rendered set: fixed pictures, cut and spoiled in a fixed way, and what a network makes of
them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch

from trg_ros.evaluation.metrics import PoseSet
from trg_ros.model.network import TRG, project_to_crop
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.synthetic.augmentation import AugmentationConfig, Augmenter, TrainingBatch
from trg_ros.synthetic.backgrounds import procedural_patches
from trg_ros.synthetic.dataset import RenderedDataset
from trg_ros.synthetic.landmark_set import default_landmark_set

HELD_OUT_SEED = 900001
# Camera roll beyond what was rendered is an augmentation, and mirror images add nothing here.
_GEOMETRY = {"roll_probability": 0.0, "wide_roll_probability": 0.0, "flip_probability": 0.0}
_EXACT_BOXES = {"center_jitter": 0.0, "wide_center_jitter": 0.0, "scale_sigma": 0.0}
BATCH = 50
#: How the crops of a held-out set are cut and spoiled, and what that stands for.
CONDITIONS: dict[str, tuple[str, dict[str, float]]] = {
    "hard": ("all pixel effects, one look at sloppy boxes", {}),
    "settled": (
        "all pixel effects, boxes and virtual cameras as second looks have them",
        {"settled_probability": 1.0},
    ),
    "tracked": (
        "all pixel effects, boxes (centre up to 8 % off) and virtual cameras as trackers have them",
        {"tracked_probability": 1.0},
    ),
    "clean": (
        "exact pictures, one look at boxes within a few per cent",
        {"photometric": 0.0, "center_jitter": 0.03, "wide_center_jitter": 0.03, "scale_sigma": 0.02},
    ),
}


@dataclass
class HeldOutSet:
    """Rendered samples with a fixed augmentation. Crops of any size show the same pictures.

    condition: one of CONDITIONS.
    """

    dataset: RenderedDataset
    count: int
    condition: str = "hard"
    _batches: dict[tuple[int, float], TrainingBatch] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path, count: int, condition: str = "hard") -> "HeldOutSet":
        """The first ``count`` samples of a folder of rendered shards, or all that there are."""
        dataset = RenderedDataset(root)
        return cls(dataset, min(count, len(dataset)), condition)

    def crops(self, size: int, second_look_scale: float = 1.0) -> TrainingBatch:
        """All crops at a side in pixels, with boxes and labels; made once.

        :param second_look_scale: of the network that will see them, `TRGConfig.second_look_scale`.
        """
        key = (size, second_look_scale)
        if key not in self._batches:
            self._batches[key] = self._make(size, second_look_scale)
        return self._batches[key]

    def attributes(self) -> dict[str, np.ndarray]:
        """What the heads look like, (count,) per name; empty for sets that don't say."""
        return self.dataset.attributes(self.count)

    @staticmethod
    def truth(batch: TrainingBatch) -> PoseSet:
        """The true poses of a batch."""
        return PoseSet(batch.rotation, batch.translation, batch.landmarks_head)

    def scenes(self, size: int, view: float) -> Iterator[TrainingBatch]:
        """All heads in pictures of ``size`` px whose side is ``view`` times that of the face's exact box; in
        batches, as pictures are large. The batches' boxes are the pictures'."""
        yield from self._parts(size, view, _EXACT_BOXES)

    def _make(self, size: int, second_look_scale: float) -> TrainingBatch:
        parts = list(self._parts(size, 1.0, CONDITIONS[self.condition][1], second_look_scale))
        names = [entry.name for entry in fields(TrainingBatch)]
        return TrainingBatch(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _parts(
        self, size: int, view: float, effects: dict[str, float], settled_scale: float = 1.0
    ) -> Iterator[TrainingBatch]:
        chosen = default_landmark_set()
        backgrounds = procedural_patches(100, 256, HELD_OUT_SEED)
        config = replace(AugmentationConfig(), **_GEOMETRY, **effects)  # type: ignore[arg-type]
        augmenter = Augmenter(size, chosen.flip, chosen.landmarks68, backgrounds, config, view, settled_scale)
        for first in range(0, self.count, BATCH):
            indices = np.arange(first, min(first + BATCH, self.count))
            yield augmenter(self.dataset.gather(indices), np.random.default_rng([HELD_OUT_SEED, first]))


@torch.inference_mode()
def predict_poses(model: TRG, batch: TrainingBatch, bfloat16: bool = False) -> PoseSet:
    """What a network in eval mode says about the crops of a batch."""
    device = next(model.parameters()).device
    parts = []
    for first in range(0, len(batch.box), BATCH):
        part = slice(first, first + BATCH)
        crops = normalise_crops(torch.from_numpy(batch.crops[part]).to(device))
        box = torch.from_numpy(batch.box[part]).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            parts.append(model(crops, box)[-1])

    def joined(name: str) -> np.ndarray:
        return torch.cat([getattr(part, name) for part in parts]).float().cpu().numpy()

    return PoseSet(joined("rotation"), joined("translation"), joined("landmarks_head"))


@torch.inference_mode()
def landmarks68_disagreement(model: TRG, batch: TrainingBatch) -> np.ndarray:
    """Mean distance (N,) of the 68 projected landmarks from what the 68-landmark head sees, over the crop's
    side."""
    device = next(model.parameters()).device
    landmarks68 = torch.from_numpy(model.topology.landmarks68).to(device)
    parts = []
    for first in range(0, len(batch.box), BATCH):
        part = slice(first, first + BATCH)
        box = torch.from_numpy(batch.box[part]).to(device)
        output = model(
            normalise_crops(torch.from_numpy(batch.crops[part]).to(device)), box, landmarks68=True
        )[-1]
        dense = project_to_crop(output.landmarks_camera[:, landmarks68], box)
        parts.append((dense - output.landmarks68_crop).norm(dim=-1).mean(dim=1) / 2)
    return torch.cat(parts).float().cpu().numpy()
