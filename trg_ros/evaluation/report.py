"""An evaluation for people and programs: JSON, a table beside the paper's rows, the worst cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trg_ros.datasets.pictures import cut_tile, sheet
from trg_ros.datasets.sample import HeadDataset
from trg_ros.evaluation.protocol import (
    DISTANCE_EDGES_M,
    YAW_EDGES_DEG,
    Evaluation,
    binned,
    summarise_protocol,
)
from trg_ros.geometry import HEAD_R_FACE, make_transform
from trg_ros.markdown import table
from trg_ros.media.recording import write_image, writing_to
from trg_ros.visualization import draw_axes

COLUMNS = {
    "yaw": "yaw °",
    "pitch": "pitch °",
    "roll": "roll °",
    "mae_r": "MAE_r °",
    "ge": "GE °",
    "tx": "t_x mm",
    "ty": "t_y mm",
    "tz": "t_z mm",
    "mae_t": "MAE_t mm",
    "add": "ADD mm",
    "landmarks_mean": "landmarks mean mm",
    "landmarks_median": "median mm",
    "face_size": "face size mm²",
}

#: Published figures, in the columns' units: TRG (ECCV 2024) and TRGv2 (Pattern Recognition 2026).
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "ARKitFace": {
        "TRG, paper": {"mae_r": 0.92, "ge": 1.80, "mae_t": 3.64, "add": 8.74},
        "TRG + 300W-LP, paper": {
            "yaw": 0.88, "pitch": 1.29, "roll": 0.57, "mae_r": 0.91, "ge": 1.84,
            "tx": 0.81, "ty": 1.90, "tz": 8.17, "mae_t": 3.62, "add": 8.68, "landmarks_mean": 1.58,
        },
        "TRGv2, paper": {"mae_r": 0.87, "mae_t": 3.64, "add": 8.76},
    },
    "BIWI": {
        "TRG, paper": {"mae_r": 2.89, "ge": 5.68, "mae_t": 14.31, "add": 32.10},
        "TRG + 300W-LP, paper": {
            "yaw": 3.04, "pitch": 3.44, "roll": 1.78, "mae_r": 2.75, "ge": 5.35,
            "tx": 7.83, "ty": 6.99, "tz": 24.07, "mae_t": 12.97, "add": 29.46,
        },
        "TRGv2, paper": {"mae_r": 2.87, "mae_t": 13.56, "add": 31.35},
        "TRGv2, head origins aligned, paper": {"mae_r": 2.87, "mae_t": 11.33, "add": 29.25},
    },
}  # fmt: skip


def report_values(evaluation: Evaluation, checkpoint: str, pose_source: str = "trg") -> dict[str, Any]:
    """Everything as plain numbers for JSON."""
    by: dict[str, tuple[NDArray[np.float64], tuple[float, ...]]] = {
        "yaw_deg": (np.abs(evaluation.yaw_deg), YAW_EDGES_DEG),
        "distance_m": (evaluation.distance_m, DISTANCE_EDGES_M),
    }
    return {
        "dataset": evaluation.dataset,
        "checkpoint": checkpoint,
        "pose_source": pose_source,
        "samples": len(evaluation.names),
        "pnp_failures": evaluation.failures,
        "units": "degrees, millimetres; face_size mm^2",
        "errors": summarise_protocol(evaluation.errors),
        "head_origin_offset_mm": (1e3 * evaluation.origin_offset).tolist(),
        "errors_with_head_origin_aligned": summarise_protocol(evaluation.aligned),
        "by": {
            name: [
                {"from": low, "to": high if np.isfinite(high) else None, "samples": count, **summary}
                for low, high, count, summary in binned(evaluation.errors, values, edges)
            ]
            for name, (values, edges) in by.items()
        },
        "worst": [
            {"sample": evaluation.names[row], "add_mm": 1e3 * float(evaluation.errors["add_m"][row])}
            for row in evaluation.worst(20)
        ],
    }


def markdown_table(evaluation: Evaluation, name: str) -> str:
    """Our rows and, where there are any, the published ones; a column that nobody fills is left out."""
    rows = {name: summarise_protocol(evaluation.errors)}
    rows[f"{name}, head origins aligned"] = summarise_protocol(evaluation.aligned)
    rows |= PUBLISHED.get(evaluation.dataset, {})
    columns = [key for key in COLUMNS if any(key in row for row in rows.values())]
    cells = (
        [title, *(f"{row[key]:.2f}" if key in row else "" for key in columns)] for title, row in rows.items()
    )
    return table([evaluation.dataset, *(COLUMNS[key] for key in columns)], cells) + "\n"


def worst_cases(evaluation: Evaluation, dataset: HeadDataset, count: int = 24) -> NDArray[np.uint8]:
    """A sheet (H, W, 3) BGR of the largest ADD: true axes thick and short, predicted ones thin and long."""
    tiles, captions = [], []
    for row in evaluation.worst(count):
        sample = dataset[int(evaluation.indices[row])]
        tile, camera = cut_tile(sample)
        pairs = (
            (evaluation.rotation, evaluation.translation, 0.06, 4.0),
            (evaluation.predicted_rotation, evaluation.predicted_translation, 0.11, 1.5),
        )
        for rotation, translation, length_m, stroke in pairs:
            pose = make_transform(rotation[row], translation[row]) @ make_transform(HEAD_R_FACE, np.zeros(3))
            draw_axes(tile, pose, camera, length_m, stroke)
        tiles.append(tile)
        angle, add = evaluation.errors["geodesic_deg"][row], 1e3 * evaluation.errors["add_m"][row]
        captions.append(f"{angle:.1f} deg {add:.0f} mm {sample.name}"[:34])
    return sheet(tiles, captions)


def write_report(
    folder: Path, evaluation: Evaluation, dataset: HeadDataset, checkpoint: str, pose_source: str = "trg"
) -> dict[str, Any]:
    """report.json, report.md and worst.png (and plots, where matplotlib is installed) in a folder.

    :returns: the content of report.json. :raises InputError: when the folder can't be written to.
    """
    from trg_ros.evaluation.plots import write_plots

    values = report_values(evaluation, checkpoint, pose_source)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        page = markdown_table(evaluation, f"{Path(checkpoint).name} ({pose_source})")
        (folder / "report.md").write_text(page, encoding="utf-8")
    write_image(folder / "worst.png", worst_cases(evaluation, dataset))
    write_plots(folder, values)
    return values
