"""The paper's ablations: variants of one run, trained alike, measured alike, in one table."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trg_ros.checkpoint import Checkpoint
from trg_ros.errors import InputError
from trg_ros.evaluation.protocol import NetworkPredictor, evaluate_dataset, summarise_protocol
from trg_ros.recording import writing_to
from trg_ros.training.config import _build
from trg_ros.training.paper import PaperTrainer, open_source
from trg_ros.training.paper_config import PaperConfig, SourceConfig, paper_config_from_dict

COLUMNS = {"landmarks_mean": "landmarks mm", "mae_r": "MAE_r °", "mae_t": "MAE_t mm", "add": "ADD mm"}
_SECTIONS = ("model", "loss", "augmentation")

Results = dict[str, dict[str, dict[str, float]]]
"""Variant -> test set -> the protocol's summary."""


@dataclass(frozen=True)
class Variant:
    """One row. pnp: not trained; the landmarks of the first variant, with poses by PnP."""

    title: str
    config: PaperConfig
    pnp: bool = False


@dataclass(frozen=True)
class Plan:
    """What to train and what to test on."""

    variants: tuple[Variant, ...]
    tests: dict[str, SourceConfig]


def load_plan(path: Path | str, steps: int | None = None) -> Plan:
    """Read a YAML file with base, tests and variants; see config/ablation/.

    :param steps: instead of the file's.
    :raises InputError: naming what is missing or unusable.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"can't read the ablation plan {path}: {error}") from error
    missing = [
        name for name in ("base", "tests", "variants") if not isinstance(raw, dict) or not raw.get(name)
    ]
    if missing:
        raise InputError(f"{path} lacks {missing[0]!r}; it needs base, tests and variants")
    base = {**raw["base"], **({"steps": steps} if steps else {})}
    variants = tuple(_variant(base, title, changes or {}) for title, changes in raw["variants"].items())
    if variants[0].pnp:
        raise InputError(
            f"{path}: the first variant can't be pnp: there is nothing before it to take landmarks of"
        )
    tests = {title: _build(SourceConfig, source, f"{path}: tests") for title, source in raw["tests"].items()}
    return Plan(variants, tests)


def run_plan(plan: Plan, out: Path, device: str) -> Results:
    """Train and measure every variant; the table in `out` grows by each. Finished runs are not repeated."""
    results: Results = {}
    first: Checkpoint | None = None
    for variant in plan.variants:
        if variant.pnp and first is not None:
            results[variant.title] = _measure(first, plan.tests, device, "pnp")
        else:
            trainer = PaperTrainer(variant.config, device=device)
            trainer.run()
            checkpoint = trainer.checkpoint()
            first = first or checkpoint
            results[variant.title] = _measure(checkpoint, plan.tests, device, "trg")
        with writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "ablation.json").write_text(json.dumps(results, indent=2) + "\n")
            (out / "ablation.md").write_text(table(results))
    return results


def table(results: Results) -> str:
    """Markdown: a row for each variant, the columns once for each test set."""
    tests = list(next(iter(results.values())))
    heads = [f"{test}: {unit}" for test in tests for unit in COLUMNS.values()]
    lines = ["| variant | " + " | ".join(heads) + " |", "|---" + "|---:" * len(heads) + "|"]
    for title, by_test in results.items():
        cells = [f"{by_test[test][key]:.2f}" for test in tests for key in COLUMNS]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _variant(base: dict[str, Any], title: str, changes: dict[str, Any]) -> Variant:
    if not isinstance(changes, dict):
        raise InputError(f"variant {title!r} must be a mapping of changes, not {changes!r}")
    values = {**base, **{name: value for name, value in changes.items() if name not in (*_SECTIONS, "pnp")}}
    for section in _SECTIONS:
        if section in changes:
            values[section] = {**base.get(section, {}), **changes[section]}
    place = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    values["name"] = place
    values["output"] = str(Path(str(base.get("output", "ablation"))) / place)
    return Variant(title, paper_config_from_dict(values, f"variant {title!r}"), bool(changes.get("pnp")))


def _measure(
    checkpoint: Checkpoint, tests: dict[str, SourceConfig], device: str, pose_source: str
) -> dict[str, dict[str, float]]:
    predict = NetworkPredictor(checkpoint, device, pose_source)
    return {
        title: summarise_protocol(evaluate_dataset(predict, open_source(source)).errors)
        for title, source in tests.items()
    }
