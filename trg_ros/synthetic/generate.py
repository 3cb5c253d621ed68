"""Making a rendered data set, shard by shard, and a contact sheet of it."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from trg_ros.errors import InputError
from trg_ros.synthetic.dataset import RenderedDataset, write_shard
from trg_ros.synthetic.head_frame import HEAD_FRAME
from trg_ros.synthetic.render import ATTRIBUTES, HeadRenderer, RenderSettings

SHARD = 500


def generate(
    face_model: Path | str,
    root: Path,
    seed: int,
    count: int,
    first: int = 0,
    settings: RenderSettings | None = None,
    device: str = "cpu",
    processes: int = 1,
) -> None:
    """Render heads first..first+count-1 of a seed; shards that are complete already are left alone.

    :param device: what paints, see :class:`HeadRenderer`. :param processes: how many draw and paint.
    :raises InputError: when the counts make no sense or the face model can't be read.
    :raises DeviceError: for a GPU that isn't there or can't be used.
    """
    if count < 1:
        raise InputError(f"{count} heads (-n) to render: it must be at least 1")
    if first < 0 or first % SHARD:
        raise InputError(
            f"number of the first head (--first) is {first}: it must be a multiple of {SHARD}, a shard's size"
        )
    if processes < 1:
        raise InputError(f"{processes} processes (--processes) to render: it must be at least 1")
    starts = range(first, first + count, SHARD)
    missing = [start for start in starts if not (root / f"shard_{start:08d}").exists()]
    sizes = [min(SHARD, first + count - start) for start in missing]
    _renderer(face_model, settings, device)  # tells what is wrong with them before anything is written
    root.mkdir(parents=True, exist_ok=True)
    work = partial(_render_shard, face_model, settings, device, root, seed)
    with (
        tqdm(total=count, initial=count - sum(sizes), unit="head", desc=f"rendering into {root}") as progress,
        _workers(min(processes, len(missing))) as run,
    ):
        for size in run(work, missing, sizes):
            progress.update(size)


@contextmanager
def _workers(processes: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` over so many processes, each with one thread for its matrix products."""
    if processes <= 1:
        yield map
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield pool.map


@lru_cache(maxsize=1)
def _renderer(face_model: Path | str, settings: RenderSettings | None, device: str) -> HeadRenderer:
    return HeadRenderer(face_model, settings, device)


def _render_shard(
    face_model: Path | str, settings: RenderSettings | None, device: str, root: Path, seed: int,
    start: int, size: int,
) -> int:  # fmt: skip
    """Returns the number of heads."""
    renderer = _renderer(face_model, settings, device)
    heads = list(renderer.heads(seed, start, size))
    labels = {
        name: np.stack([getattr(head, name) for head in heads])
        for name in ("rotation", "translation", "landmarks_head", "box", "attributes")
    }
    images = np.stack([head.image for head in heads])
    write_shard(
        root,
        start,
        images,
        labels,
        margin=renderer.settings.margin,
        seed=seed,
        attribute_names=list(ATTRIBUTES),
        head_frame=HEAD_FRAME,
    )
    return size


def contact_sheet(root: Path, columns: int = 8, rows: int = 5, side: int = 160) -> Path:
    """A picture of the first heads over grey, every other one with its landmarks and face axes; returns its
    path."""
    dataset = RenderedDataset(root)
    samples = dataset.gather(np.arange(min(columns * rows, len(dataset))))
    sheet = np.full((rows * side, columns * side, 3), 128, np.uint8)
    for k in range(len(samples)):
        rgba = cv2.resize(samples.images[k], (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        tile = (rgba[..., 2::-1] + 128 * (1 - rgba[..., 3:] / 255)).clip(0, 255).astype(np.uint8)
        tile = np.ascontiguousarray(tile)
        if k % 2 == 0:
            window = samples.box[k, 2] * samples.margin
            camera = samples.landmarks_head[k] @ samples.rotation[k].T + samples.translation[k]
            _draw(tile, camera, samples.rotation[k], samples.box[k, :2], window)
        row, column = divmod(k, columns)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    path = root / "contact_sheet.png"
    cv2.imwrite(str(path), sheet)
    return path


def _draw(
    tile: np.ndarray, landmarks: np.ndarray, rotation: np.ndarray, center: np.ndarray, window: float
) -> None:
    """Landmarks as dots; axes of the face at the sellion: x red, y green, z blue (out of the face, left,
    up)."""

    def pixel(point: np.ndarray) -> tuple[int, int]:
        plane = (point[:2] / point[2] - center) / window + 0.5
        return int(plane[0] * tile.shape[1]), int(plane[1] * tile.shape[0])

    for point in landmarks[:68]:
        cv2.circle(tile, pixel(point), 1, (0, 255, 255), -1)
    for axis, color in (((0, 0, -1), (0, 0, 255)), ((1, 0, 0), (0, 255, 0)), ((0, -1, 0), (255, 0, 0))):
        tip = landmarks[27] + 0.07 * rotation @ np.array(axis)
        cv2.line(tile, pixel(landmarks[27]), pixel(tip), color, 1)
