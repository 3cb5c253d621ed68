"""Data sets by the names that commands and configurations use."""

from __future__ import annotations

import argparse
from pathlib import Path

from trg_ros.datasets.arkitface import SPLITS, ARKitFace
from trg_ros.datasets.biwi import BIWI
from trg_ros.datasets.rendered import RenderedHeads
from trg_ros.datasets.sample import HeadDataset
from trg_ros.datasets.w300lp import W300LP
from trg_ros.errors import InputError

DATASETS: dict[str, type[HeadDataset]] = {
    "arkitface": ARKitFace,
    "300w-lp": W300LP,
    "biwi": BIWI,
    "synthetic": RenderedHeads,
}


def open_dataset(
    name: str,
    root: Path | str,
    split: str = "test",
    boxes: Path | str | None = None,
    assets: Path | str | None = None,
) -> HeadDataset:
    """A data set by name.

    :param split: of ARKitFace. :param assets: ARKitFace's side files. :param boxes: of BIWI.
    :raises InputError: for an unknown name, or files that are another data set's. :raises DatasetError: when
        files are missing or broken.
    """
    for what, given, theirs in (("boxes", boxes, "biwi"), ("assets", assets, "arkitface")):
        if given is not None and name != theirs:
            raise InputError(
                f"{what} '{given}' have no meaning for {name}, only for {theirs}; leave them out"
            )
    if name == "arkitface":
        return ARKitFace(root, split, assets)
    if name == "biwi":
        return BIWI(root, boxes)
    if name == "300w-lp":
        return W300LP(root)
    if name == "synthetic":
        return RenderedHeads(root)
    raise InputError(f"there is no data set {name!r}; known are {', '.join(DATASETS)}")


def add_dataset_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--split, --boxes and --assets, as `open_dataset` takes them."""
    parser.add_argument("--split", choices=SPLITS, default="test", help="of ARKitFace (default: test)")
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        help="of BIWI: a table image,left,top,right,bottom, the release's annotation .pkl, or 'mesh' for "
        "boxes around the true heads (default: boxes.csv in the data set's folder)",
    )
    parser.add_argument(
        "--assets",
        metavar="DIR",
        help="ARKitFace's side files, as import-release takes them (default: npy/ in its folder)",
    )
