"""What a checkpoint's metadata says: in short for a terminal, and as a model card in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trg_ros.checkpoint import Checkpoint
from trg_ros.markdown import table

_WORST_RATIO = 1.3  # a group with more than this times the mean error is named

_COLUMNS = {
    "geodesic_mean_deg": ("rotation, mean (deg)", 1.0, "{:.2f}"),
    "geodesic_median_deg": ("median (deg)", 1.0, "{:.2f}"),
    "mae_yaw_deg": ("yaw (deg)", 1.0, "{:.2f}"),
    "mae_pitch_deg": ("pitch (deg)", 1.0, "{:.2f}"),
    "mae_roll_deg": ("roll (deg)", 1.0, "{:.2f}"),
    "mae_tx_m": ("tx (mm)", 1e3, "{:.1f}"),
    "mae_ty_m": ("ty (mm)", 1e3, "{:.1f}"),
    "tz_relative_median": ("depth, median (%)", 1e2, "{:.2f}"),
    "landmark_mean_m": ("landmarks (mm)", 1e3, "{:.2f}"),
}
_GROUP_COLUMNS = ("geodesic_mean_deg", "tz_relative_median", "landmark_mean_m")
_LEARNED = (".weight", ".bias")
"""Tensors that training changes; the others are statistics and the initial state."""


def summary(path: Path, checkpoint: Checkpoint) -> str:
    """What the network is, what it learned from and how wrong it is, for a terminal. Needs no torch."""
    info, measured = checkpoint.info, checkpoint.info.measured_errors
    lines = [f"{info.name} {info.version}", *_in_columns(_facts(str(path), path, checkpoint))]
    if "geodesic_mean_deg" in measured:
        lines += [_source(measured), "Rotation (mean), depth (median), landmarks (mean):"]
        for condition in _conditions(measured):
            rotation, depth, landmarks = _cells(condition, _GROUP_COLUMNS)
            lines.append(f"  {rotation} deg, {depth} %, {landmarks} mm  {condition.get('condition', 'all')}")
    return "\n".join([*lines, "All tables: --markdown. Everything: --json."]) + "\n"


def model_card(path: Path, checkpoint: Checkpoint) -> str:
    """What the network is, what it learned from and how wrong it is, in Markdown.

    Errors are those that were measured when the checkpoint was written; nothing is run but one crop, to count
    operations.
    """
    info, facts = checkpoint.info, _facts(f"`{path.name}`", path, checkpoint)
    facts["size"] += f", {gigaflops(checkpoint):.2f} GFLOP a face"
    parts = [f"## {info.name} {info.version}", "\n".join(f"- {name}: {text}" for name, text in facts.items())]
    measured = info.measured_errors
    if "geodesic_mean_deg" in measured:
        parts += ["### Errors", _source(measured), _error_table(measured)]
    if "int8" in measured:
        parts += ["### 8-bit integers", _integers(measured["int8"], checkpoint.activation_peaks is not None)]
    if "calibration" in measured:
        parts += ["### Covariances", _calibration(measured["calibration"])]
    if "groups" in measured:
        parts += ["### Errors by group", _groups(measured)]
    return "\n\n".join(parts) + "\n"


def parameter_count(checkpoint: Checkpoint) -> int:
    """How many numbers of the network training changes."""
    return sum(np.size(value) for name, value in checkpoint.weights.items() if name.endswith(_LEARNED))


def _facts(file: str, path: Path, checkpoint: Checkpoint) -> dict[str, str]:
    """By name, without those that the checkpoint doesn't state."""
    info, config = checkpoint.info, checkpoint.config
    facts = {
        "file": f"{file}, {path.stat().st_size / 1e6:.1f} MB",
        "input": f"{config.input_size} x {config.input_size} px crop and its camera's intrinsics",
        "output": f"{config.num_landmarks} landmarks, rotation, translation, "
        f"refined {config.iterations} times",
        "size": f"{parameter_count(checkpoint) / 1e6:.2f} million parameters",
        "made": info.created,
        "origin": info.origin_convention,
        "training data": info.training_data,
        "training": _training(info.provenance),
        "known limits": str(info.provenance.get("known_limits", "")),
        "licence": info.license,
    }
    return {name: text for name, text in facts.items() if text}


def _in_columns(entries: Mapping[str, str]) -> list[str]:
    """A paragraph for each entry, its text beside its name."""
    indent = 4 + max(map(len, entries))
    wrapper = textwrap.TextWrapper(100, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [wrapper.fill(f"  {name}".ljust(indent) + text) for name, text in entries.items()]


def _training(provenance: Mapping[str, Any]) -> str:
    known = {"samples_seen": "{:,} crops seen", "steps": "{:,} steps", "rendered_samples": "{}", "note": "{}"}
    return "; ".join(text.format(provenance[name]) for name, text in known.items() if name in provenance)


def _source(measured: Mapping[str, Any]) -> str:
    return f"On {measured['samples']:,} {measured.get('dataset', 'held-out heads')}."


def _conditions(measured: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One look at sloppy boxes, and the others that were measured."""
    return [measured, *(measured[name] for name in ("settled", "tracked") if name in measured)]


def _error_table(measured: Mapping[str, Any]) -> str:
    rows = []
    for condition in _conditions(measured):
        rows.append([condition.get("condition", "all"), "all", *_cells(condition, _COLUMNS)])
        rows.append(["", "below 60 deg", *_cells(condition["yaw_below_60"], _COLUMNS)])
    return table(["crops", "yaw", *(_COLUMNS[name][0] for name in _COLUMNS)], rows)


def _integers(measured: Mapping[str, Any], used: bool) -> str:
    """What they change, on held-out crops."""
    difference = measured["difference"]
    ratios = (f"{name} {100 * ratio - 100:+.2f} %" for name, ratio in measured["error_ratio"].items())
    return " ".join(
        [
            "CPUs with VNNI use them." if used else "Not used: they cost too much.",
            f"On {measured['samples']:,} held-out crops, beside fp32: mean errors against the truth "
            f"{', '.join(ratios)}.",
            f"Single heads turn by {_spread(difference['rotation_deg'], 1, 'deg')}",
            f"and move by {_spread(difference['translation_m'], 1e3, 'mm')}.",
        ]
    )


def _spread(values: Mapping[str, float], factor: float, unit: str) -> str:
    median, p95, worst = (f"{factor * values[name]:.2f}" for name in ("median", "p95", "worst"))
    return f"{median} {unit} (median; 95 %: {p95}, worst: {worst})"


def _calibration(measured: Mapping[str, Any]) -> str:
    """How true the covariances are: normalised errors, which have a mean square of 1 if they are."""
    names = {
        "all_looks": "after second looks",
        "tracked": "one look as trackers have it",
        "one_look": "one look at sloppy boxes",
    }
    rows = [
        [names[key], *(f"{value:.2f}" for value in part["mean_square"].values()), f"{part['inside_95']:.1%}"]
        for key, part in measured.items()
        if key in names
    ]
    axes = list(next(iter(measured.values()))["mean_square"])
    by_axis = table(["mean square of error / deviation", *axes, "in the 95 % ellipsoid"], rows)
    return f"On held-out heads that had no part in the fit.\n\n{by_axis}"


def _groups(measured: Mapping[str, Any]) -> str:
    """The groups' errors under the condition that users meet: second looks, if they were measured."""
    shown = measured.get("settled", measured)
    ratios = {
        name: group["geodesic_mean_deg"] / shown["geodesic_mean_deg"]
        for name, group in shown["groups"].items()
    }
    rows = [
        [name, f"{group['samples']:,}", *_cells(group, _GROUP_COLUMNS), f"{ratios[name]:.2f}"]
        for name, group in shown["groups"].items()
    ]
    worst = [name for name, ratio in ratios.items() if ratio > _WORST_RATIO]
    verdict = f"Above {_WORST_RATIO} times the mean rotation error: {', '.join(worst) or 'no group'}."
    heading = ["group", "heads", *(_COLUMNS[name][0] for name in _GROUP_COLUMNS), "of the mean"]
    return f"Crops: {shown.get('condition', 'as above')}. {verdict}\n\n{table(heading, rows)}"


def _cells(values: Mapping[str, float], names: Any) -> list[str]:
    return [_COLUMNS[name][2].format(values[name] * _COLUMNS[name][1]) for name in names]


def gigaflops(checkpoint: Checkpoint) -> float:
    """Multiplications and additions of one face as it is deployed, in 10^9."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from trg_ros.model.deploy import DeployedTRG

    size = checkpoint.config.input_size
    network = DeployedTRG(checkpoint.build_model())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, size, size, 3, dtype=torch.uint8), torch.tensor([[0.0, 0.0, 0.2]]))
    return counter.get_total_flops() / 1e9
