"""Architectures compared, on paper: tables, the Pareto front of the trained ones, a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trg_ros.markdown import table

_ERROR, _COST = "geodesic_mean_deg", "cpu_median_ms"
_MARKERS = {"fp32": "o", "bf16": "^", "int8": "s"}


def pareto(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the trained networks that no other one beats in both cost and error (settled), cheapest
    first."""
    known = [row for row in rows if "settled" in row["errors"]]
    best = [
        row
        for row in known
        if not any(
            other[_COST] <= row[_COST]
            and error(other, "settled") <= error(row, "settled")
            and other is not row
            for other in known
        )
    ]
    return [row["name"] for row in sorted(best, key=lambda row: row[_COST])]


def error(row: dict[str, Any], condition: str) -> float:
    """Mean geodesic error of rotation in degrees."""
    return float(row["errors"][condition][_ERROR])


def architectures_markdown(report: dict[str, Any]) -> str:
    """Tables of the trained networks and of the others; the fastest first."""
    rows = sorted(report["architectures"], key=lambda row: row[_COST])
    first_ms = report["architectures"][0][_COST]
    trained, others = ([row for row in rows if bool(row["trained"]) is known] for known in (True, False))
    tables = [make(some, first_ms) for make, some in ((_trained, trained), (_untrained, others)) if some]
    return "\n\n".join(tables)


def _trained(rows: Sequence[dict[str, Any]], first_ms: float) -> str:
    front = pareto(rows)
    errors = ["settled (deg)", "median", "hard (deg)", "depth (%)", "landmarks (mm)"]
    return table(
        ["", "crops seen (10^6)", *_SIZES, "frame (ms)", *errors, "on the front"],
        (
            [
                row["name"],
                f"{1e-6 * (row['trained']['samples_seen'] or 0):.2f}",
                *_sizes(row, first_ms),
                f"{row['tracked'][_COST]:.2f}",
                *_errors(row),
                "yes" if row["name"] in front else "",
            ]
            for row in rows
        ),
    )


def _errors(row: dict[str, Any]) -> list[str]:
    if not row["errors"]:
        return [""] * 5
    settled = row["errors"]["settled"]
    return [
        f"{settled[_ERROR]:.2f}",
        f"{settled['geodesic_median_deg']:.2f}",
        f"{error(row, 'hard'):.2f}",
        f"{100 * settled['tz_relative_median']:.2f}",
        f"{1e3 * settled['landmark_mean_m']:.2f}",
    ]


_SIZES = ("parameters (10^6)", "GFLOP", "network (ms)", "ratio to the first")


def _sizes(row: dict[str, Any], first_ms: float) -> list[str]:
    ms = row[_COST]
    return [f"{1e-6 * row['parameters']:.2f}", f"{row['gflop']:.3f}", f"{ms:.2f}", f"{ms / first_ms:.2f}"]


def _untrained(rows: Sequence[dict[str, Any]], first_ms: float) -> str:
    return table(["", *_SIZES], ([row["name"], *_sizes(row, first_ms)] for row in rows))


def plot_architectures(report: dict[str, Any], path: Path) -> bool:
    """Errors of the trained networks against their cost, and the cost of the others, as PNG. False where
    matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = report["architectures"]
    known = [row for row in rows if row["errors"]]
    others = sorted((row for row in rows if not row["trained"]), key=lambda row: row[_COST])
    figure = Figure(figsize=(14, 6) if known and others else (8, 6), layout="constrained")
    panels = [draw for draw, some in ((_draw_front, known), (_draw_costs, others)) if some]
    axes = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
    for draw, place in zip(panels, axes, strict=False):
        draw(place, known if draw is _draw_front else others)
    figure.savefig(path, dpi=110)
    return True


def _draw_front(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Colours say how much each has been trained, as the front compares no equals."""
    front = pareto(rows)
    line = sorted((row[_COST], error(row, "settled")) for row in rows if row["name"] in front)
    axes.plot(*zip(*line, strict=True), "-", color="0.6", zorder=0)
    seen = [1e-6 * (row["trained"]["samples_seen"] or 0) for row in rows]
    for precision, marker in _MARKERS.items():
        chosen = [index for index, row in enumerate(rows) if row["precision"] == precision]
        if chosen:
            x = [rows[index][_COST] for index in chosen]
            y = [error(rows[index], "settled") for index in chosen]
            colours = [seen[index] for index in chosen]
            drawn = axes.scatter(x, y, c=colours, marker=marker, vmin=0, vmax=max(seen), label=precision)
    by_cost = sorted(rows, key=lambda row: row[_COST])
    for number, row in enumerate(by_cost, 1):
        below = row["name"] in front
        axes.annotate(
            str(number),
            (row[_COST], error(row, "settled")),
            (0, -6 if below else 6),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="top" if below else "bottom",
        )
    names = "\n".join(f"{number:2}  {row['name']}" for number, row in enumerate(by_cost, 1))
    axes.text(0.02, 0.98, names, transform=axes.transAxes, fontsize=7.5, va="top")
    axes.figure.colorbar(drawn, ax=axes, label="crops seen in training (10^6)")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("network, CPU ms, one face")
    axes.set_ylabel("rotation, mean error in degrees, in second looks")
    axes.grid(True, which="both", alpha=0.3)
    axes.margins(x=0.1, y=0.15)
    axes.legend()


def _draw_costs(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    axes.barh([row["name"] for row in rows], [row[_COST] for row in rows])
    axes.set_xlabel("network, CPU ms, one face (random weights)")


def architectures_section(report: dict[str, Any], path: Path) -> str:
    """Of the page about performance. :param path: of the report; remarks and plot lie beside it."""
    settings = report["settings"]
    trained = {bool(row["trained"]) for row in report["architectures"]}
    heading = {True: "Trained architectures", False: "What architectures cost"}
    sections = [
        f"## {heading[trained.pop()] if len(trained) == 1 else 'Architectures'}",
        f"{report['machine']['machine']}; OpenVINO, one face, network threads: {settings['threads']}; load "
        f"average before and after: {report['load_before'][0]} and {report['load_after'][0]}; "
        f"{report['created']}. CPU time, median of interleaved calls.",
    ]
    if heads := settings.get("held_out_heads"):
        sections[-1] += (
            f" Errors on the same {heads} held-out rendered heads: settled as second looks see them, hard as "
            "the first look at a sloppy box does; median, depth and landmarks are of settled ones."
        )
    remarks = path.with_suffix(".md")
    if remarks.is_file():
        sections.append(remarks.read_text(encoding="utf-8").strip())
    if path.with_suffix(".png").is_file():
        sections.append(f"![Error against cost of architectures]({path.parent.name}/{path.stem}.png)")
    return "\n\n".join([*sections, architectures_markdown(report)]) + "\n"
