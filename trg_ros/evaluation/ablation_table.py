"""Variants of a network side by side: a Markdown table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trg_ros import markdown
from trg_ros.evaluation.plots import can_plot

COLUMNS = {"landmarks_mean": "landmarks mm", "mae_r": "MAE_r °", "mae_t": "MAE_t mm", "add": "ADD mm"}
_PLOTTED = ("mae_r", "add")
_LOGARITHMIC_FROM = 4

Results = dict[str, dict[str, dict[str, float]]]
"""Variant -> test set -> the protocol's summary."""


def table(results: Results) -> str:
    """Markdown: a row for each variant, the columns once for each test set."""
    tests = list(next(iter(results.values())))
    heads = [f"{test}: {unit}" for test in tests for unit in COLUMNS.values()]
    rows = (
        [title, *(f"{by_test[test][key]:.2f}" for test in tests for key in COLUMNS)]
        for title, by_test in results.items()
    )
    return markdown.table(["variant", *heads], rows) + "\n"


def plot(results: Results, path: Path) -> None:
    """Rotation error and ADD of all variants, a dot for each test set; none where matplotlib is missing."""
    if not can_plot():
        return
    from matplotlib.figure import Figure

    titles = list(results)
    figure = Figure(figsize=(10, 1.2 + 0.32 * len(titles)), layout="constrained")
    for column, key in enumerate(_PLOTTED):
        axes = figure.add_subplot(1, len(_PLOTTED), column + 1)
        for test in next(iter(results.values())):
            axes.plot([results[title][test][key] for title in titles], range(len(titles)), "o", label=test)
        axes.set_yticks(range(len(titles)), titles if column == 0 else [""] * len(titles))
        axes.invert_yaxis()
        _spread(axes, [by_test[test][key] for by_test in results.values() for test in by_test])
        axes.set_xlabel(COLUMNS[key])
        axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def _spread(axes: Any, values: list[float]) -> None:
    """A scale on which all values can be told apart: logarithmic where they differ by much."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if max(values) > _LOGARITHMIC_FROM * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
