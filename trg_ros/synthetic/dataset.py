"""Rendered data sets on disk: shards of head crops without background, with their labels.

A data set is a folder of shard folders ``shard_<first sample>``; each holds ``images.npy`` (memory-mapped
when read) and ``labels.npz``. Sample i of seed s is the same picture however the shards were produced, so a
data set can grow, be rendered by several processes, or be deleted and made again; shards may differ in the
size of their pictures. ``info.json`` says which axes the head frame has (`trg_ros.synthetic.head_frame`):
"rigid", or "scan" in sets that were rendered before; they don't mix.
"""

import json
import mmap
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trg_ros.errors import InputError

LABELS = ("rotation", "translation", "landmarks_head", "box")


@dataclass(frozen=True)
class RenderedSamples:
    """A batch of rendered heads.

    images: N pictures (H, H, 4) uint8, whose H may differ: RGB premultiplied by the coverage in channel 3, of
    a square window in the normalised image plane whose centre is the box centre and whose side is ``margin``
    times the box side.
    rotation: (N, 3, 3) camera_R_head. translation: (N, 3) head origin in the camera frame, metres.
    landmarks_head: (N, V, 3) metres, head frame. box: (N, 3) TRG box centre x, centre y, side in the
    normalised plane.
    """

    images: Sequence[np.ndarray]
    rotation: np.ndarray
    translation: np.ndarray
    landmarks_head: np.ndarray
    box: np.ndarray
    margin: float

    def __len__(self) -> int:
        return len(self.images)


def write_shard(
    root: Path, first: int, images: np.ndarray, labels: dict[str, np.ndarray], **info: Any
) -> Path:
    """Write one shard in one piece: the folder appears under its final name only when it is complete."""
    missing = [name for name in LABELS if name not in labels]
    if missing:
        raise InputError(f"a shard needs the labels {', '.join(LABELS)}; missing: {', '.join(missing)}")
    final = root / f"shard_{first:08d}"
    partial = root / f".partial_{first:08d}_{os.getpid()}"
    partial.mkdir(parents=True)
    np.save(partial / "images.npy", images)
    np.savez(partial / "labels.npz", **labels)  # type: ignore[arg-type]
    (partial / "info.json").write_text(json.dumps({"first": first, "count": len(images), **info}))
    if final.exists():
        shutil.rmtree(partial)
        return final
    partial.rename(final)
    return final


@dataclass(frozen=True)
class _Shard:
    images: np.ndarray
    labels: dict[str, np.ndarray]
    margin: float
    attribute_names: tuple[str, ...]
    head_frame: str


class RenderedDataset:
    """Random access to the samples of a rendered data set; shards in the order of their first sample.

    :param limit_shards: use only that many shards (what a resumed run saw), None: all that are there.
    """

    def __init__(self, root: Path | str, limit_shards: int | None = None) -> None:
        self.root = Path(root)
        self._shards: list[_Shard] = []
        self._names: list[str] = []
        self._ends = np.zeros(0, dtype=np.int64)
        self.refresh(limit_shards)
        if not self._shards:
            raise InputError(
                f"no rendered shards in {self.root}: make some with `trg-headpose render --out {self.root}`"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shard_count(self) -> int:
        return len(self._shards)

    def samples_in(self, shards: int) -> int:
        """Number of samples in the first so many shards."""
        return int(self._ends[shards - 1])

    def attributes(self, count: int) -> dict[str, np.ndarray]:
        """What the first samples look like, (count,) float32 per name of ``render.ATTRIBUTES``; empty when
        the set was rendered without."""
        if any("attributes" not in shard.labels for shard in self._shards):
            return {}
        values = np.concatenate([shard.labels["attributes"] for shard in self._shards])[:count]
        return dict(zip(self._shards[0].attribute_names, values.T, strict=True))

    @property
    def num_landmarks(self) -> int:
        return int(self._shards[0].labels["landmarks_head"].shape[1])

    def refresh(self, limit_shards: int | None = None) -> int:
        """Take in shards that were written since; returns how many samples there are now.

        Shards are only ever appended, so indices stay what they were while rendering goes on in order.
        """
        for path in sorted(self.root.glob("shard_*")):
            if limit_shards is not None and len(self._shards) >= limit_shards:
                break
            if path.name in self._names:
                continue
            shard = _read_shard(path)
            if self._shards and shard.head_frame != self._shards[0].head_frame:
                raise InputError(
                    f"{path} has labels in the head frame {shard.head_frame!r}, the shards before it in "
                    f"{self._shards[0].head_frame!r}: a data set needs one; render it again"
                )
            self._shards.append(shard)
            self._names.append(path.name)
        self._ends = np.cumsum([len(shard.images) for shard in self._shards])
        return int(self._ends[-1]) if len(self._ends) else 0

    def gather(self, indices: np.ndarray) -> RenderedSamples:
        """The samples of the given indices ((N,) int), copied into one batch."""
        ends = self._ends  # `refresh` may replace it meanwhile
        shard_of = np.searchsorted(ends, indices, side="right")
        starts = np.concatenate([[0], ends[:-1]])
        places = [(self._shards[s], int(i - starts[s])) for s, i in zip(shard_of, indices, strict=True)]
        labels = {key: np.stack([shard.labels[key][row] for shard, row in places]) for key in LABELS}
        for shard, row in places:
            _read_ahead(shard.images, row)
        images = [np.array(shard.images[row]) for shard, row in places]
        return RenderedSamples(images=images, margin=self._shards[0].margin, **labels)

    def mean_landmarks(self, samples: int = 4000) -> np.ndarray:
        """Mean head-frame landmarks (V, 3) in metres of the first shards: the network's initial face."""
        total, count = np.zeros((self.num_landmarks, 3)), 0
        for shard in self._shards:
            if count >= samples:
                break
            total += shard.labels["landmarks_head"].sum(axis=0, dtype=np.float64)
            count += len(shard.images)
        return (total / count).astype(np.float32)


def _read_ahead(images: np.ndarray, row: int) -> None:
    """Have one picture of a memory-mapped array read from disk at once, and nothing around it.

    A set is larger than the memory and read in random order: the system's own reading ahead would read ten
    times as much as is used.
    """
    if isinstance(images, np.memmap):
        size = images[0].nbytes
        begin = images.offset + row * size
        aligned = begin - begin % mmap.PAGESIZE
        images._mmap.madvise(mmap.MADV_WILLNEED, aligned, begin + size - aligned)  # type: ignore[attr-defined]


def _read_shard(path: Path) -> _Shard:
    try:
        images = np.load(path / "images.npy", mmap_mode="r")
        images._mmap.madvise(mmap.MADV_RANDOM)
        with np.load(path / "labels.npz") as archive:
            labels = {key: archive[key] for key in archive.files}
        info = json.loads((path / "info.json").read_text())
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not a rendered shard ({error}); delete it and render it again"
        ) from error
    return _Shard(
        images=images,
        labels=labels,
        margin=float(info["margin"]),
        attribute_names=tuple(info.get("attribute_names", ())),
        head_frame=info.get("head_frame", "scan"),
    )
