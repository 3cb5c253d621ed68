"""From a training state to the file that the package carries.

python -m trg_ros.finder.training.packaging --state RUN/state.pt --threshold 0.4 --measured RESULTS.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trg_ros.errors import InputError
from trg_ros.finder.config import HEAT
from trg_ros.finder.network import FinderNetwork
from trg_ros.finder.weights import PACKAGED, save_finder
from trg_ros.training.state import load_state

#: All detectors' usual smallest score; the finder's own best threshold is moved there.
USUAL_SCORE = 0.6

CARD: dict[str, Any] = {
    "name": "trg-finder",
    "version": "1.2",
    "license": "Apache-2.0",
    "training_data": "rendered heads only (ICT-FaceKit geometry, MIT; trg_ros.synthetic), composed over "
    "freely licensed wallpapers and invented backgrounds; no photo of a person",
    "output": "TRG boxes (1.5 x the larger extent of the 68 landmarks), five points, score",
    "limits": "finds fewer faces than libfacedetection, and more things that are none (hands, "
    "clothes, coins); misses faces under 14 px (TRG box) or larger than the picture, turned by more than 90 "
    "or rolled by more than 60 degrees, or half covered",
}


def with_threshold(network: FinderNetwork, threshold: float) -> FinderNetwork:
    """The network with its scores shifted so that what was ``threshold`` is now ``USUAL_SCORE``; in place.

    :raises InputError: for a threshold outside 0..1.
    """
    if not 0 < threshold < 1:
        raise InputError(f"threshold is {threshold}: it must lie between 0 and 1")
    shift = math.log(USUAL_SCORE / (1 - USUAL_SCORE)) - math.log(threshold / (1 - threshold))
    bias = network.get_parameter("head.1.bias")
    with torch.no_grad():
        bias[HEAT] += shift
    return network


def package(state: Path, out: Path, threshold: float, measured: dict[str, Any]) -> None:
    """Write the averaged network of a training state, with its card."""
    content = load_state(state)
    network = FinderNetwork()
    network.load_state_dict(content["average"])
    out.parent.mkdir(parents=True, exist_ok=True)
    provenance = {"steps": content["step"], "threshold": threshold}
    save_finder(
        out, with_threshold(network, threshold), {**CARD, "measured": measured, "provenance": provenance}
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Package a trained face finder.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=USUAL_SCORE)
    parser.add_argument("--measured", type=Path, help="JSON by trg_ros.finder.training.evaluate")
    parser.add_argument("--out", type=Path, default=PACKAGED)
    given = parser.parse_args(arguments)
    measured = json.loads(given.measured.read_text()) if given.measured else {}
    package(given.state, given.out, given.threshold, measured)


if __name__ == "__main__":
    main()
