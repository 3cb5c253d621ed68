"""The paper's ablations: variants of one run, trained alike, measured alike, in one table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from trg_ros.checkpoint import Checkpoint
from trg_ros.datasets.batches import KeptBatches, MicroBatches
from trg_ros.errors import InputError
from trg_ros.evaluation.ablation_table import Results, plot, table
from trg_ros.evaluation.protocol import NetworkPredictor, evaluate_dataset, summarise_protocol
from trg_ros.media.recording import writing_to
from trg_ros.training.config import _build
from trg_ros.training.paper import PaperTrainer, open_source
from trg_ros.training.paper_config import PaperConfig, SourceConfig, paper_config_from_dict

PLANS = Path(__file__).parent / "plans"
MEASURED_NAME = "measured.json"
_SECTIONS = ("model", "loss", "augmentation")
_FOR_BATCHES = ("data", "shares", "augmentation", "seed", "micro_batch")


@dataclass(frozen=True)
class Variant:
    """One row. pnp: not trained; the landmarks of the first variant, with poses by PnP."""

    title: str
    config: PaperConfig
    pnp: bool = False


@dataclass(frozen=True)
class Plan:
    """What to train and what to test on.

    keep_batches  in memory: all variants see the same ones, made once; they have to fit.
    pretrain      a run before all others, whose maps they start from.
    """

    variants: tuple[Variant, ...]
    tests: dict[str, SourceConfig]
    keep_batches: bool = False
    pretrain: PaperConfig | None = None


def load_plan(
    path: Path | str, steps: int | None = None, seed: int | None = None, only: Sequence[str] = ()
) -> Plan:
    """Read a YAML file with base, tests and variants; `plans/synthetic.yaml` shows how.

    :param steps: and seed: instead of the file's. A seed has a folder of its own for its runs.
    :param only: these variants, besides the first one.
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
    if seed is not None:
        base |= {"seed": seed, "output": str(Path(str(base.get("output", "ablation"))) / f"seed_{seed}")}
    pretrain = _variant(base, "pretrained maps", raw["pretrain"]).config if raw.get("pretrain") else None
    if pretrain is not None:
        base["backbone"] = str(Path(pretrain.output) / f"{pretrain.name}.safetensors")
    variants = tuple(_variant(base, title, changes or {}) for title, changes in raw["variants"].items())
    if variants[0].pnp:
        raise InputError(
            f"{path}: the first variant can't be pnp: there is nothing before it to take landmarks of"
        )
    tests = {title: _build(SourceConfig, source, f"{path}: tests") for title, source in raw["tests"].items()}
    return Plan(_chosen(variants, only), tests, bool(raw.get("keep_batches")), pretrain)


def with_folders(plan: Plan, train: str | None, held_out: str | None) -> Plan:
    """The plan with another folder of training, or of test data."""
    variants, pretrain = plan.variants, plan.pretrain
    if train is not None:
        data = tuple(replace(source, root=train) for source in variants[0].config.data)
        variants = tuple(replace(v, config=replace(v.config, data=data)) for v in variants)
        pretrain = replace(pretrain, data=data) if pretrain else None
    tests = plan.tests
    if held_out is not None:
        tests = {title: replace(source, root=held_out) for title, source in tests.items()}
    return replace(plan, variants=variants, tests=tests, pretrain=pretrain)


def run_plan(plan: Plan, out: Path, device: str) -> Results:
    """Train and measure every variant; the table in `out` grows by each. What is finished is not repeated."""
    results: Results = {}
    kept: dict[str, KeptBatches] = {}
    if plan.pretrain is not None:
        _trained(plan, plan.pretrain, kept, device)
    for variant in plan.variants:
        results[variant.title] = _result(plan, variant, kept, device)
        with writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "ablation.json").write_text(json.dumps(results, indent=2) + "\n")
            (out / "ablation.md").write_text(table(results))
            plot(results, out / "ablation.png")
    return results


def _result(
    plan: Plan, variant: Variant, kept: dict[str, KeptBatches], device: str
) -> dict[str, dict[str, float]]:
    """A row, from the variant's folder if it was measured before and nothing has changed since."""
    config = plan.variants[0].config if variant.pnp else variant.config
    place = Path(config.output).expanduser() / ("pnp_" * variant.pnp + MEASURED_NAME)
    asked = json.loads(json.dumps([asdict(config), {t: asdict(s) for t, s in plan.tests.items()}]))
    if place.exists():
        found = json.loads(place.read_text())
        if found["asked"] == asked:
            return dict(found["result"])
    checkpoint = _trained(plan, config, kept, device)
    result = _measure(checkpoint, plan.tests, device, "pnp" if variant.pnp else "trg")
    place.write_text(json.dumps({"asked": asked, "result": result}, indent=1))
    return result


def _trained(plan: Plan, config: PaperConfig, kept: dict[str, KeptBatches], device: str) -> Checkpoint:
    trainer = PaperTrainer(config, device=device)
    if plan.keep_batches and isinstance(trainer.batches, MicroBatches):
        trainer.batches = kept.setdefault(_batches_key(config), KeptBatches(trainer.batches))
    trainer.run()
    return trainer.checkpoint()


def _batches_key(config: PaperConfig) -> str:
    values = [getattr(config, name) for name in _FOR_BATCHES]
    return repr([*values, config.model.input_size, config.model.num_landmarks])


def _chosen(variants: tuple[Variant, ...], only: Sequence[str]) -> tuple[Variant, ...]:
    titles = [variant.title for variant in variants]
    for title in only:
        if title not in titles:
            raise InputError(f"there is no variant {title!r}; there are {', '.join(titles)}")
    return tuple(
        variant for index, variant in enumerate(variants) if not (only and index) or variant.title in only
    )


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
