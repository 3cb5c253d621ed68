"""Batches in a deterministic order, made by threads beside the training step.

Batch k of stream w depends on (seed, w, k), the size of its crops and the samples there were when it was
drawn, and on nothing else; which samples there were is written down (``growth``), so that a resumed run draws
the same ones.
"""

import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trg_ros.model.losses import TRGTargets
from trg_ros.model.network import project_to_crop
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.synthetic.augmentation import Augmenter, TrainingBatch
from trg_ros.synthetic.augmentation.hair_layers import HairLayers
from trg_ros.synthetic.backgrounds import photo_patches, procedural_patches
from trg_ros.synthetic.dataset import RenderedDataset
from trg_ros.synthetic.landmark_set import LandmarkSet
from trg_ros.training.config import DataConfig, TrainingConfig


@dataclass
class Growth:
    """(step, number of shards) pairs: from that step on, batches are drawn from the first so many shards."""

    entries: list[tuple[int, int]]

    def shards_at(self, step: int) -> int:
        return [count for start, count in self.entries if start <= step][-1]


def load_backgrounds(config: DataConfig, seed: int) -> np.ndarray:
    """All background patches, (B, S, S, 3) uint8 RGB; kept beside the data set, as making them takes a
    while."""
    key = (
        f"{config.backgrounds}|{config.photo_patches}|{config.procedural_patches}|{config.patch_size}|{seed}"
    )
    cache = Path(config.root).expanduser() / f"backgrounds_{zlib.crc32(key.encode()):08x}.npy"
    if cache.exists():
        return np.load(cache, mmap_mode="r")
    patches = _make_backgrounds(config, seed)
    partial = cache.with_suffix(f".{os.getpid()}.partial.npy")
    np.save(partial, patches)
    partial.replace(cache)
    return patches


def _make_backgrounds(config: DataConfig, seed: int) -> np.ndarray:
    patches = []
    if config.procedural_patches:
        patches.append(procedural_patches(config.procedural_patches, config.patch_size, seed))
    if config.backgrounds and config.photo_patches:
        folder = Path(config.backgrounds).expanduser()
        patches.append(photo_patches(folder, config.photo_patches, config.patch_size, seed))
    return np.concatenate(patches)


class BatchStream:
    """Iterates over (step, TrainingBatch) from a step on.

    :param growth: what is known of earlier growth; the stream appends to it.
    :param stream: number of this stream, 0 for the trainer itself, others for gradient helpers.
    """

    def __init__(
        self,
        config: TrainingConfig,
        dataset: RenderedDataset,
        backgrounds: np.ndarray,
        landmark_set: LandmarkSet,
        growth: Growth,
        stream: int = 0,
    ) -> None:
        self._config, self._dataset, self._backgrounds = config, dataset, backgrounds
        self._landmark_set, self._growth, self._stream = landmark_set, growth, stream
        self._hair: HairLayers | None = None
        if config.augmentation.hair_probability > 0:
            frontal68 = dataset.mean_landmarks()[landmark_set.landmarks68]
            self._hair = HairLayers(frontal68, config.data.hair_layers, config.seed)

    def batch(self, step: int) -> TrainingBatch:
        """The batch of a step; growth up to this step must be known."""
        if not self._growth.entries:
            self._grow(step)
        samples_there = self._dataset.samples_in(self._growth.shards_at(step))
        rng = np.random.default_rng([self._config.seed, self._stream, step])
        indices = rng.integers(0, samples_there, self._config.optimisation.batch_size)
        return self._augmenter(self._config.crop_size(step))(self._dataset.gather(indices), rng)

    def prefetched(self, first: int, last: int) -> Iterator[tuple[int, TrainingBatch]]:
        """Batches first..last-1 in order, made ahead by ``data.threads`` threads."""
        threads = self._config.data.threads
        pending: deque[tuple[int, Future[TrainingBatch]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
        try:
            for step in range(first, last):
                self._grow(step)
                pending.append((step, pool.submit(self.batch, step)))
                if len(pending) > threads + 2:
                    ready, batch = pending.popleft()
                    yield ready, batch.result()
            while pending:
                ready, batch = pending.popleft()
                yield ready, batch.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _grow(self, step: int) -> None:
        entries = self._growth.entries
        due = self._config.data.grow and step % self._config.data.refresh_every == 0
        if entries and not (due and entries[-1][0] < step):
            return
        self._dataset.refresh()
        if not entries or entries[-1][1] != self._dataset.shard_count:
            entries.append((step if entries else 0, self._dataset.shard_count))

    def _augmenter(self, size: int) -> Augmenter:
        chosen, config = self._landmark_set, self._config.augmentation
        return Augmenter(
            size,
            chosen.flip,
            chosen.landmarks68,
            self._backgrounds,
            config,
            settled_scale=self._config.model.second_look_scale,
            hair=self._hair,
        )


def to_tensors(
    batch: TrainingBatch, landmarks68: np.ndarray, focal: float, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor, TRGTargets]:
    """Normalised crops (N, 3, S, S) channels last, boxes (N, 3) and targets of a batch."""
    crops = normalise_crops(torch.from_numpy(batch.crops).to(device))
    box = torch.from_numpy(batch.box).to(device)
    landmarks_head = torch.from_numpy(batch.landmarks_head).to(device)
    rotation = torch.from_numpy(batch.rotation).to(device)
    translation = torch.from_numpy(batch.translation).to(device)
    points68 = landmarks_head[:, landmarks68] @ rotation.transpose(1, 2) + translation[:, None]
    targets = TRGTargets(
        landmarks_head=landmarks_head,
        rotation=rotation,
        translation=translation,
        landmarks68_crop=project_to_crop(points68, box),
        focal=focal / box[:, 2],
        has_3d=torch.ones(len(box), dtype=torch.bool, device=box.device),
    )
    return crops, box, targets
