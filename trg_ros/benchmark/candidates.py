"""The networks that `trg-headpose benchmark --architectures` compares, as files of candidates name them.

Such a file is YAML: a name for each candidate, and below it the options of the model in which it differs from
the packaged network's; it has random weights then. With `checkpoint` (a file, or "packaged") it is a trained
network, as it is or stopped after fewer `iterations`. `precision` is that of the OpenVINO back end.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from trg_ros.backends.openvino_backend import PRECISIONS
from trg_ros.checkpoint import Checkpoint, default_checkpoint_path, load_checkpoint
from trg_ros.errors import InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.state import expected_state
from trg_ros.model.topology import Topology

_PACKAGED = "packaged"


@dataclass(frozen=True)
class Candidate:
    """One network to compare.

    :param options: of the model; for trained networks `iterations` at most.
    :param checkpoint: of a trained network; None: random weights, which are as fast as any.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    precision: str = "fp32"

    @classmethod
    def from_dict(cls, name: str, values: dict[str, Any]) -> Candidate:
        """:raises InputError: for a precision that the back end hasn't got, or options that a trained network
        can't change."""
        options = dict(values)
        checkpoint, precision = options.pop("checkpoint", None), options.pop("precision", "fp32")
        if precision not in PRECISIONS:
            raise InputError(f"architectures, {name}: precision {precision!r} is none of {list(PRECISIONS)}")
        if checkpoint is not None and options.keys() - {"iterations"}:
            raise InputError(
                f"architectures, {name}: {sorted(options)} can't be changed after training; with a "
                "checkpoint only iterations can"
            )
        return cls(name, options, checkpoint, precision)

    @property
    def trained(self) -> bool:
        """Whether it has learned anything; otherwise its weights are random."""
        return self.checkpoint is not None

    def build(self, base: Checkpoint) -> Checkpoint:
        """:param base: what candidates with random weights differ from."""
        if self.checkpoint is None:
            return random_checkpoint(base, self.options)
        path = default_checkpoint_path() if self.checkpoint == _PACKAGED else Path(self.checkpoint)
        found = load_checkpoint(path)
        return stopped_after(found, self.options.get("iterations", found.config.iterations))


def read_candidates(paths: list[str]) -> list[Candidate]:
    """Of all files, in order. :raises InputError: for a file that isn't such a list, or a name that is
    used twice."""
    candidates = [candidate for path in paths for candidate in _read(path)]
    names = [candidate.name for candidate in candidates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"architectures: {', '.join(twice)}: each name can be used once")
    return candidates


def _read(path: str) -> list[Candidate]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"architectures {path}: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not all(
        isinstance(options, dict) or options is None for options in content.values()
    ):
        raise InputError(f"architectures {path}: expected names, each with options of the model below it")
    return [Candidate.from_dict(str(name), options or {}) for name, options in content.items()]


def random_checkpoint(checkpoint: Checkpoint, changes: dict[str, Any]) -> Checkpoint:
    """A checkpoint like another one but for some options of the model, with random weights.

    :raises InputError: for options that no model has.
    """
    config = TRGConfig.from_dict({**checkpoint.config.to_dict(), **changes})
    base = checkpoint.topology
    if config.num_landmarks != checkpoint.config.num_landmarks:
        raise InputError("architectures: num_landmarks belongs to the landmark set, it can't be changed")
    first = np.unique(base.landmarks68)
    others = np.setdiff1d(np.arange(config.num_landmarks), first)
    sampled = np.concatenate([first, others])[: config.num_sampled]
    topology = Topology(base.triangles, sampled, base.landmarks68)
    torch.manual_seed(0)
    model = TRG(config, topology)
    model.set_initial_state(checkpoint.state_dict["initial_landmarks"])
    return dataclasses.replace(checkpoint, config=config, topology=topology, weights=model.state_dict())


def stopped_after(checkpoint: Checkpoint, iterations: int) -> Checkpoint:
    """A trained network that refines fewer times, without the maps and weights that this leaves unused.

    :raises InputError: for more iterations than it has.
    """
    config = checkpoint.config
    if not 1 <= iterations <= config.iterations:
        raise InputError(f"architectures: iterations must be from 1 to {config.iterations}, not {iterations}")
    heatmap = config.heatmap_level % len(config.deconv_widths)
    maps = 1 + max(heatmap, *(config.map_level(iteration) for iteration in range(iterations)))
    config = dataclasses.replace(
        config, iterations=iterations, deconv_widths=config.deconv_widths[:maps], heatmap_level=heatmap
    )
    kept = expected_state(config, checkpoint.topology)
    dropped = tuple(f"upsamplers.{level}." for level in range(maps, len(checkpoint.config.deconv_widths)))
    peaks = checkpoint.activation_peaks
    if peaks is not None and dropped:
        peaks = {layer: peak for layer, peak in peaks.items() if not layer.startswith(dropped)}
    return dataclasses.replace(
        checkpoint,
        config=config,
        weights={name: checkpoint.weights[name] for name in kept},
        activation_peaks=peaks,
    )
