"""`trg-headpose check-data`: is a downloaded data set complete, and do its labels fit its pictures?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
from tqdm import tqdm

from trg_ros.arguments import at_least
from trg_ros.datasets.biwi import BIWI, BOX_TABLE, MESH_BOXES
from trg_ros.datasets.boxes import detect_boxes, write_boxes
from trg_ros.datasets.check import Findings, check_dataset, contact_sheet
from trg_ros.datasets.registry import DATASETS, add_dataset_arguments, open_dataset
from trg_ros.detection import make_detector
from trg_ros.errors import DatasetError, InputError
from trg_ros.media.recording import write_image, writing_to

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=DATASETS, help="the data set")
    parser.add_argument("root", metavar="ROOT", help="its folder")
    add_dataset_arguments(parser)
    reading = parser.add_mutually_exclusive_group()
    reading.add_argument(
        "--look-at", type=at_least(1), default=500, metavar="N", help="read N samples (default: 500)"
    )
    reading.add_argument("--all", action="store_true", help="read every sample")
    parser.add_argument(
        "--sheet", metavar="FILE", help="write a picture of 24 samples with their labels drawn"
    )
    parser.add_argument(
        "--detect-boxes",
        action="store_true",
        help=f"of BIWI: first find the faces with a detector and write {BOX_TABLE} into ROOT",
    )


def main(args: argparse.Namespace) -> int:
    """0 if the data set is complete, 1 if something is missing or broken."""
    if args.sheet and not cv2.haveImageWriter(args.sheet):  # said now, not after hours
        raise InputError(f"--sheet {args.sheet}: pictures have other names; end it in .png or .jpg")
    try:
        if args.detect_boxes:
            _write_detected_boxes(args)
        dataset = open_dataset(args.name, args.root, args.split, args.boxes, args.assets)
    except DatasetError as error:
        # The layout is a list of paths, which one line would make unreadable.
        print(f"trg-headpose: error: {error}", file=sys.stderr)
        return 2
    findings = check_dataset(dataset, None if args.all else args.look_at, tqdm)
    print(_summary(findings))
    if args.sheet:
        write_image(Path(args.sheet), contact_sheet(dataset))
        print(f"the labels are drawn in {args.sheet}")
    return 0 if findings.complete else 1


def _summary(findings: Findings) -> str:
    lines = [f"{findings.title}: {findings.samples:,} samples"]
    if findings.expected is not None and findings.samples != findings.expected:
        lines[0] += f", but the complete data set has {findings.expected:,}"
    elif findings.expected is not None:
        lines[0] += ", all there"
    lines += [f"  {name}: {value}" for name, value in findings.numbers.items()]
    lines.append(f"  read: {findings.looked_at:,}, broken: {len(findings.broken):,}")
    lines += [f"    {line}" for line in findings.broken[:_SHOWN]]
    if len(findings.broken) > _SHOWN:
        lines.append(f"    and {len(findings.broken) - _SHOWN:,} more")
    return "\n".join(lines)


def _write_detected_boxes(args: argparse.Namespace) -> None:
    if args.name != "biwi":
        raise InputError(f"--detect-boxes is for biwi; {args.name} has boxes of its own")
    dataset = BIWI(args.root, boxes=MESH_BOXES)
    boxes = detect_boxes(tqdm(dataset, desc="faces"), make_detector())
    path = dataset.root / BOX_TABLE
    with writing_to(path):
        write_boxes(path, boxes)
    print(f"{len(boxes):,} of {len(dataset):,} frames have a face; boxes are in {path}")
