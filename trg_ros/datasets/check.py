"""Is a download complete? Counts, files, and a look at some samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trg_ros.datasets.arkitface import ARKitFace
from trg_ros.datasets.biwi import BIWI
from trg_ros.datasets.pictures import draw_sample, sheet
from trg_ros.datasets.sample import HeadDataset, Sample, evenly
from trg_ros.errors import DatasetError
from trg_ros.geometry import euler_yxz_degrees

#: Samples of the complete data sets, by title and split ("" where there are no splits).
COMPLETE = {
    ("ARKitFace", "train"): 717_840,
    ("ARKitFace", "test"): 184_884,
    ("300W-LP", ""): 122_450,
    ("BIWI", ""): 15_678,
}
_ON_A_SHEET = 24


@dataclass
class Findings:
    """What was found in a data set.

    expected  number of samples of the complete data set, None if that is not fixed.
    broken    one line for every sample that can't be used.
    """

    title: str
    samples: int
    expected: int | None
    looked_at: int = 0
    broken: list[str] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.broken and self.expected in (None, self.samples)


def check_dataset(
    dataset: HeadDataset,
    look_at: int | None = 500,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Findings:
    """Compare the number of samples with the complete data set's, and read some of them, pictures included.

    :param look_at: how many samples to read, spread evenly; None: all.
    """
    findings = Findings(dataset.title, _total(dataset), expected_count(dataset))
    chosen = evenly(dataset, len(dataset) if look_at is None else look_at)
    seen: list[Sample] = []
    for index in progress(range(len(chosen))):
        findings.looked_at += 1
        try:
            sample = chosen[index]
            sample.load_image()
        except DatasetError as error:
            findings.broken.append(str(error).splitlines()[0])
            continue
        seen.append(sample)
    findings.numbers = _describe(seen)
    if isinstance(dataset, BIWI) and dataset.without_box:
        findings.numbers["frames without a box, left out"] = str(dataset.without_box)
    return findings


def expected_count(dataset: HeadDataset) -> int | None:
    """Number of samples of the complete data set, None if that is not fixed."""
    return COMPLETE.get((dataset.title, dataset.split if isinstance(dataset, ARKitFace) else ""))


def contact_sheet(dataset: HeadDataset) -> NDArray[np.uint8]:
    """A picture (H, W, 3) BGR of some samples with landmarks, boxes and axes drawn; broken ones are left out.

    :raises DatasetError: when all of them are broken.
    """
    chosen, tiles, names = evenly(dataset, _ON_A_SHEET), [], []
    for index in range(len(chosen)):
        try:
            sample = chosen[index]
            tiles.append(draw_sample(sample, dataset.topology))
            names.append(sample.name)
        except DatasetError:
            if not tiles and index == len(chosen) - 1:
                raise
    return sheet(tiles, names)


def _total(dataset: HeadDataset) -> int:
    return len(dataset) + (dataset.without_box if isinstance(dataset, BIWI) else 0)


def _describe(samples: list[Sample]) -> dict[str, str]:
    """Ranges of what the labels say."""
    if not samples:
        return {}
    sizes = sorted({(sample.camera.width, sample.camera.height) for sample in samples})
    sides = [sample.box[2] - sample.box[0] for sample in samples]
    numbers = {
        "sequences": str(len({sample.sequence for sample in samples})),
        "pictures": ", ".join(f"{w}x{h}" for w, h in sizes[:4]) + (", ..." if len(sizes) > 4 else "") + " px",
        "face boxes": f"{min(sides):.0f} to {max(sides):.0f} px",
    }
    poses = [sample.camera_T_head for sample in samples if sample.camera_T_head is not None]
    if poses:
        stacked = np.stack(poses)
        angles = np.asarray(euler_yxz_degrees(stacked[:, :3, :3]))
        distance = np.linalg.norm(stacked[:, :3, 3], axis=1)
        numbers["distance"] = f"{distance.min():.2f} to {distance.max():.2f} m"
        for name, values in zip(("yaw", "pitch", "roll"), angles.T, strict=True):
            numbers[name] = f"{values.min():.0f} to {values.max():.0f} degrees"
    return numbers
