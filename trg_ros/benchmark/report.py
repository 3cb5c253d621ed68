"""The measurements as a page of tables and, where matplotlib is, a plot.

``python -m trg_ros.benchmark.report docs/benchmarks`` writes docs/performance.md anew from the results there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trg_ros.benchmark.fronts import architectures_section
from trg_ros.markdown import table

_PREFACE = """# Performance

Made by `trg-headpose benchmark` on the machines named below; the raw results are in [benchmarks](benchmarks).
After adding results there, run `python -m trg_ros.benchmark.report docs/benchmarks` to make this page anew.
"""
_CPU_NOTE = (
    "Milliseconds: CPU time of the process, median of interleaved calls (wall-clock median in brackets). "
    "On a machine that also does other work the CPU time is the one to compare."
)


def markdown(report: dict[str, Any]) -> str:
    """The report of `trg-headpose benchmark` as Markdown."""
    machine, settings = report["machine"], report["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    cpus = f"{machine['cpus']} CPUs ({', '.join(machine['cpu_features'])})"
    hardware = ", ".join([cpus, *machine.get("gpus", [])])
    sections = [
        "\n".join(
            [
                f"Machine: {machine['machine']}, {hardware}, {machine['system']}, "
                f"Python {machine['python']}; {versions}.",
                f"Weights: {settings['checkpoint']}; network threads: {settings['threads']}; "
                f"load average before and after: {report['load_before'][0]} and {report['load_after'][0]}; "
                f"{report['created']}.",
            ]
        )
    ]
    if report["peers"]:
        sections.append(
            "### One tracked face, image in to pose out\n\n" + _CPU_NOTE + "\n\n" + _peers(report)
        )
    for size in dict.fromkeys(row["image"] for row in report["stages"]):
        rows = [row for row in report["stages"] if row["image"] == size]
        sections.append(f"### Stages, {size}\n\n" + _CPU_NOTE + "\n\n" + _stages(rows))
    if report["ros"]:
        sections.append(
            "### Through ROS: image stamp to poses received by another process\n\n" + _ros(report)
        )
    return "\n\n".join(sections) + "\n"


def _peers(report: dict[str, Any]) -> str:
    return table(
        ["", "ms", "p95", "ratio to the first"],
        (
            [row["contender"], _time(row), f"{row['cpu_p95_ms']:.2f}", f"{row['cpu_ratio_to_first']:.2f}"]
            for row in report["peers"]
        ),
    )


def _stages(rows: Sequence[dict[str, Any]]) -> str:
    counts = list(dict.fromkeys(row["faces"] for row in rows))
    cells = {(row["stage"], row["faces"]): _time(row) for row in rows}
    stages = list(dict.fromkeys(row["stage"] for row in sorted(rows, key=lambda row: -row["faces"])))
    return table(
        ["faces", *map(str, counts)],
        ([stage, *(cells.get((stage, count), "") for count in counts)] for stage in stages),
    )


def _ros(report: dict[str, Any]) -> str:
    columns = {
        "rate (Hz)": "rate_hz",
        "p50 (ms)": "latency_p50_ms",
        "p95 (ms)": "latency_p95_ms",
        "p99 (ms)": "latency_p99_ms",
        "images": "sent",
        "dropped": "dropped",
        "node's CPU (of one core)": "node_cpu_share_of_one_core",
    }
    return table(list(columns), ([str(row[key]) for key in columns.values()] for row in report["ros"]))


def _time(row: dict[str, Any]) -> str:
    return f"{row['cpu_median_ms']:.2f} ({row['wall_median_ms']:.2f})"


def plot(report: dict[str, Any], path: Path) -> bool:
    """CPU time of a frame against the number of faces, as PNG. False where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    frames = [row for row in report["stages"] if row["stage"].startswith("frame: ") and row["faces"] > 0]
    for stage, size in dict.fromkeys((row["stage"], row["image"]) for row in frames):
        rows = [row for row in frames if (row["stage"], row["image"]) == (stage, size)]
        label = f"{stage.removeprefix('frame: ')}, {size}"
        axes.plot([row["faces"] for row in rows], [row["cpu_median_ms"] for row in rows], "o-", label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("faces")
    axes.set_ylabel("CPU ms per frame, boxes known")
    axes.set_title(report["machine"]["machine"])
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    return True


def performance_page(folder: Path) -> str:
    """All results of a folder in one page; ``<name>.md`` beside ``<name>.json`` holds remarks on it."""
    parts = [_PREFACE]
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if "architectures" in report:
            continue
        parts.append(f"## {report['machine']['machine']}\n")
        remarks = path.with_suffix(".md")
        if remarks.is_file():
            parts.append(remarks.read_text(encoding="utf-8"))
        if path.with_suffix(".png").is_file():
            parts.append(f"![CPU time per frame]({folder.name}/{path.stem}.png)\n")
        parts.append(markdown(report))
    for path in sorted(folder.glob("architectures*.json")):
        parts.append(architectures_section(json.loads(path.read_text(encoding="utf-8")), path))
    return "\n".join(parts)


if __name__ == "__main__":
    results = Path(sys.argv[1])
    (results.parent / "performance.md").write_text(performance_page(results), encoding="utf-8")
