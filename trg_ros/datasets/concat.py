"""Several data sets as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trg_ros.datasets.sample import HeadDataset, Sample
from trg_ros.errors import InputError
from trg_ros.model.topology import Topology


class ConcatDataset(HeadDataset):
    """Data sets one behind the other; they may not differ in their dense landmarks.

    :param shares: how often each data set is drawn, relative to the others; None: in proportion to its size,
        so that every sample is as likely as any other (the paper's ARKitFace + 300W-LP).
    :raises InputError: for no data sets, shares that don't fit, or landmarks that differ.
    """

    title = "several data sets"
    layout = ()

    def __init__(self, datasets: Sequence[HeadDataset], shares: Sequence[float] | None = None) -> None:
        if not datasets:
            raise InputError("there is no data set to join")
        self.datasets = list(datasets)
        self._starts = np.cumsum([0, *(len(dataset) for dataset in self.datasets)])
        self.shares = _checked_shares(shares, self.datasets)
        self.by_shares = shares is not None
        self.topology = _common_topology(self.datasets)

    @property
    def flip(self) -> NDArray[np.int64] | None:
        return next((dataset.flip for dataset in self.datasets if dataset.topology is not None), None)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def sample(self, index: int) -> Sample:
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.datasets[which].sample(index - int(self._starts[which]))

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Indices (count,) of random samples, with replacement."""
        which = rng.choice(len(self.datasets), count, p=self.shares)
        lengths = np.diff(self._starts)[which]
        return self._starts[which] + (rng.random(count) * lengths).astype(np.int64)


def _checked_shares(shares: Sequence[float] | None, datasets: list[HeadDataset]) -> NDArray[np.float64]:
    values = np.array([len(dataset) for dataset in datasets] if shares is None else shares, np.float64)
    if (
        values.shape != (len(datasets),)
        or not np.isfinite(values).all()
        or (values < 0).any()
        or not values.any()
    ):
        raise InputError(
            f"shares {values.tolist()}: expected {len(datasets)} numbers >= 0, not all of them 0"
        )
    return values / values.sum()


def _common_topology(datasets: list[HeadDataset]) -> Topology | None:
    known = [(dataset.title, dataset.topology) for dataset in datasets if dataset.topology is not None]
    for title, topology in known[1:]:
        if not np.array_equal(known[0][1].landmarks68, topology.landmarks68):
            raise InputError(
                f"{known[0][0]} and {title} have different dense landmarks: train on one of them"
            )
    return known[0][1] if known else None
