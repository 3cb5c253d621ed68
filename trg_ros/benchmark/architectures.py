"""What other architectures of TRG would cost: the network alone, one face, random weights.

A file of candidates is YAML: a name for each, and the options of the model in which it differs from the
checkpoint's; "accuracy", if anybody has trained it, is kept beside them and plotted.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from trg_ros.backends.model_cache import ModelCache
from trg_ros.backends.openvino_backend import OpenVINOBackend
from trg_ros.benchmark.timing import Call, Contender, interleave
from trg_ros.checkpoint import Checkpoint
from trg_ros.errors import InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.topology import Topology


def read_candidates(path: str) -> dict[str, dict[str, Any]]:
    """Name -> options of the model. :raises InputError: for a file that isn't such a list."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"architectures {path}: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not all(
        isinstance(options, dict) or options is None for options in content.values()
    ):
        raise InputError(f"architectures {path}: expected names, each with options of the model below it")
    return {str(name): options or {} for name, options in content.items()}


def measure_architectures(
    checkpoint: Checkpoint, candidates: dict[str, dict[str, Any]], rounds: int, threads: int = 1
) -> list[dict[str, Any]]:
    """One row for each candidate: what it is, how large, and its CPU and wall time in OpenVINO fp32.

    :raises InputError: for options that no model has.
    """
    rows: list[dict[str, Any]] = []
    contenders: dict[str, Contender] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in candidates.items():
            accuracy = options.get("accuracy")
            changes = {key: value for key, value in options.items() if key != "accuracy"}
            candidate = random_checkpoint(checkpoint, changes)
            backend = OpenVINOBackend(candidate, "fp32", threads, ModelCache(Path(folder)))
            contenders[name] = Call(_one_face(backend, candidate.config.input_size))
            parameters = sum(value.numel() for value in candidate.state_dict.values())
            rows.append({"name": name, "options": changes, "parameters": parameters, "accuracy": accuracy})
        samples = interleave(contenders, rounds)
    return [{**row, **samples[row["name"]].summary()} for row in rows]


def random_checkpoint(checkpoint: Checkpoint, changes: dict[str, Any]) -> Checkpoint:
    """A checkpoint like another one but for some options of the model, with random weights."""
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


def _one_face(backend: OpenVINOBackend, size: int) -> Any:
    crop = np.random.default_rng(0).integers(0, 255, (1, size, size, 3), dtype=np.uint8)
    box = np.array([[0.0, 0.0, 0.3]], np.float32)
    return lambda: backend.infer(crop, box)


def pareto(rows: list[dict[str, Any]], cost: str = "cpu_median_ms") -> list[str]:
    """Names of the candidates with a known accuracy that no other one beats in both cost and accuracy."""
    known = [row for row in rows if row["accuracy"] is not None]
    return [
        row["name"]
        for row in known
        if not any(
            other[cost] <= row[cost] and other["accuracy"] <= row["accuracy"] and other is not row
            for other in known
        )
    ]


def plot_architectures(report: dict[str, Any], path: Path) -> bool:
    """Cost, against accuracy where it is known, as PNG. False where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = sorted(report["architectures"], key=lambda row: row["cpu_median_ms"])
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    known = [row for row in rows if row["accuracy"] is not None]
    axes = figure.subplots(1, 2 if known else 1, squeeze=False)[0]
    axes[0].barh([row["name"] for row in rows], [row["cpu_median_ms"] for row in rows])
    axes[0].set_xlabel("network, CPU ms, one face")
    if known:
        front = pareto(rows)
        for row in known:
            style = "o" if row["name"] in front else "x"
            axes[1].plot(row["cpu_median_ms"], row["accuracy"], style, color="C0")
            place = row["cpu_median_ms"], row["accuracy"]
            axes[1].annotate(row["name"], place, (2, 5), textcoords="offset points", fontsize=7, rotation=30)
        line = [(row["cpu_median_ms"], row["accuracy"]) for row in known if row["name"] in front]
        axes[1].plot(*zip(*line, strict=True), "-", alpha=0.4)
        axes[1].set_xlabel("network, CPU ms, one face")
        axes[1].set_ylabel("error")
        axes[1].grid(True, alpha=0.3)
        axes[1].margins(x=0.3, y=0.4)
    figure.savefig(path, dpi=110)
    return True
