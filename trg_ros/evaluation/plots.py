"""Plots of an evaluation: errors by yaw and by distance."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)
_LABELS = {"yaw_deg": "true yaw (degrees, without sign)", "distance_m": "true distance (m)"}


def can_plot() -> bool:
    """Whether matplotlib is installed; says what to do if not."""
    if find_spec("matplotlib") is not None:
        return True
    _log.warning("no plots: matplotlib is not installed (pip install 'trg_ros[train]')")
    return False


def write_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """by_yaw_deg.png and by_distance_m.png from `report_values`; none where matplotlib is not installed."""
    if not can_plot():
        return []
    return [
        _write_plot(folder / f"by_{name}.png", _LABELS[name], bins) for name, bins in report["by"].items()
    ]


def _write_plot(path: Path, label: str, bins: list[dict[str, Any]]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    names = [
        f"{entry['from']:g}" + (f"-{entry['to']:g}" if entry["to"] is not None else "+") for entry in bins
    ]
    for axes, columns, unit in zip(
        figure.subplots(1, 2),
        (("yaw", "pitch", "roll", "ge"), ("tx", "ty", "tz", "add")),
        ("degrees", "mm"),
        strict=True,
    ):
        for column in columns:
            axes.plot(names, [entry[column] for entry in bins], marker="o", label=column)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel(label)
        axes.set_ylabel(f"mean error ({unit})")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    for position, entry in enumerate(bins):
        figure.axes[0].annotate(f"n={entry['samples']}", (position, 0), fontsize=6, ha="center", va="bottom")
    figure.savefig(path, dpi=110)
    return path
