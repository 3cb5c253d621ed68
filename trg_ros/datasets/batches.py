"""Samples to training batches: augmented crops and the targets of the loss, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from trg_ros.datasets.augmentation import Recipe, TrainingSample, augment
from trg_ros.datasets.concat import ConcatDataset
from trg_ros.datasets.sample import HeadDataset
from trg_ros.model.losses import TRGTargets

Key = tuple[int, int]
"""Which sample, and the seed of its augmentation."""
Batch = tuple[torch.Tensor, torch.Tensor, TRGTargets]


class MicroBatches(Dataset):
    """The micro-batches of a run, by number: always the same pictures with the same augmentation.

    An epoch goes through all samples once in random order, or, where the data set has shares, draws as many.

    :param num_landmarks: how many dense landmarks the data set has.
    :param size: side of the crops in px.
    :param count: samples in a micro-batch.
    """

    def __init__(
        self,
        dataset: HeadDataset,
        num_landmarks: int,
        size: int,
        count: int,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.dataset, self.num_landmarks = dataset, num_landmarks
        self.size, self.count, self.recipe, self.seed = size, count, recipe, seed
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def keys(self, number: int) -> list[Key]:
        """The samples of micro-batch `number`, and the seeds of their augmentation."""
        positions = np.arange(number * self.count, (number + 1) * self.count)
        return [(self._sample_at(int(position)), int(position)) for position in positions]

    def __getitem__(self, key: Key) -> TrainingSample:
        index, seed = key
        rng = np.random.default_rng([self.seed, 1, seed])
        return augment(self.dataset[index], self.dataset.flip, self.size, self.recipe, rng)

    def load(self, numbers: Sequence[int], workers: int = 0) -> Iterator[Batch]:
        """The given micro-batches in this order, made by worker processes ahead of their use."""
        loader = DataLoader(
            self,
            batch_sampler=_Keys(self, numbers),
            num_workers=workers,
            collate_fn=self.collate,
        )
        return iter(loader)

    def collate(self, samples: Sequence[TrainingSample]) -> Batch:
        """Crops (N, S, S, 3) uint8, boxes (N, 3) float32, targets; NaN where there are no 3D labels."""
        shape = (self.num_landmarks, 3)
        landmarks, poses = [], []
        for sample in samples:
            has_3d = sample.camera_T_head is not None and sample.landmarks_head is not None
            landmarks.append(sample.landmarks_head if has_3d else np.full(shape, np.nan))
            poses.append(sample.camera_T_head if has_3d else np.full((4, 4), np.nan))
        pose = _tensor(poses)
        targets = TRGTargets(
            landmarks_head=_tensor(landmarks),
            rotation=pose[:, :3, :3],
            translation=pose[:, :3, 3],
            landmarks68_crop=_tensor([sample.landmarks68_crop for sample in samples]),
            focal=_tensor([sample.focal for sample in samples]),
            has_3d=torch.isfinite(pose).all(dim=2).all(dim=1),
        )
        crops = torch.from_numpy(np.stack([sample.crop_rgb for sample in samples]))
        return crops, _tensor([sample.box for sample in samples]), targets

    def _sample_at(self, position: int) -> int:
        """The sample at a position of the endless order."""
        epoch, place = divmod(position, len(self.dataset))
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, 0, epoch])
            total = len(self.dataset)
            if isinstance(self.dataset, ConcatDataset) and self.dataset.by_shares:
                self._order = (epoch, self.dataset.draw(rng, total))
            else:
                self._order = (epoch, rng.permutation(total))
        return int(self._order[1][place])


class KeptBatches:
    """The same micro-batches in memory, for runs that train on them one after the other."""

    def __init__(self, batches: MicroBatches) -> None:
        self._batches = batches
        self._kept: dict[int, Batch] = {}

    def load(self, numbers: Sequence[int], workers: int = 0) -> Iterator[Batch]:
        """As `MicroBatches.load`; only those that nobody asked for yet are made."""
        fresh = self._batches.load([number for number in numbers if number not in self._kept], workers)
        for number in numbers:
            if number not in self._kept:
                self._kept[number] = next(fresh)
            yield self._kept[number]


class _Keys:
    """The keys of micro-batches, each made when its turn comes: all of a long run would fill the memory."""

    def __init__(self, batches: MicroBatches, numbers: Sequence[int]) -> None:
        self._batches, self._numbers = batches, numbers

    def __iter__(self) -> Iterator[list[Key]]:
        return (self._batches.keys(number) for number in self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def _tensor(values: Sequence[object]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
