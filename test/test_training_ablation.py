"""The ablation command: every variant is what it says, and one command makes the table."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import yaml
from dataset_fixtures import write_rendered

from trg_ros.checkpoint import load_checkpoint
from trg_ros.cli import main
from trg_ros.datasets.batches import MicroBatches
from trg_ros.errors import InputError
from trg_ros.evaluation import plots
from trg_ros.evaluation.ablation_table import plot
from trg_ros.training.ablation import PLANS, load_plan, run_plan, with_folders
from trg_ros.training.paper import PaperTrainer, open_source
from trg_ros.training.paper_config import SourceConfig

MODEL = {
    "input_size": 32, "stem": "compact", "backbone_widths": [8, 8], "backbone_blocks": [1, 1],
    "deconv_widths": [8, 8], "point_feature_widths": [8, 4], "num_landmarks": 433, "grid_size": 4,
    "hidden_width": 16, "iterations": 2, "landmark_scale": 0.1,
}  # fmt: skip


def write_plan(folder: Path, **changes) -> Path:
    """A plan of one step for each of four variants, and its data."""
    write_rendered(folder / "data", 12)
    source = {"name": "synthetic", "root": str(folder / "data")}
    base = {"name": "x", "output": str(folder / "runs"), "data": [source], "model": MODEL, "steps": 1,
            "batch_size": 4, "micro_batch": 4, "workers": 0}  # fmt: skip
    tests = {"near": {**source, "distance": [0.0, 0.7]}, "far": {**source, "distance": [0.7, 2.0]}}
    variants = {
        "TRG": {},
        "PnP": {"pnp": True},
        "direct": {"model": {"translation": "direct"}},
        "landmark-free": {"model": {"predicts_landmarks": False, "sampling": "grid"}},
    }
    values = {"base": base, "tests": tests, "variants": variants, **changes}
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_the_shipped_variants_differ_from_trg_in_one_thing():
    plan = load_plan(PLANS / "synthetic.yaml", steps=7)
    trg, *others = plan.variants
    assert trg.title == "TRG" and trg.config.steps == 7 and not trg.pnp
    for variant in others:
        model, base = variant.config.model.to_dict(), trg.config.model.to_dict()
        changed = {name for name in base if model[name] != base[name]}
        losses = {n for n, v in vars(variant.config.loss).items() if v != getattr(trg.config.loss, n)}
        assert variant.pnp != bool(changed or losses), variant.title
        assert variant.config.backbone == trg.config.backbone, "all start alike"
        assert variant.config.data == trg.config.data and variant.config.steps == 7
        assert not (changed and losses), variant.title
    outputs = {plan.pretrain.output, *(variant.config.output for variant in plan.variants)}
    assert len(outputs) == len(plan.variants) + 1, "no variant goes on from another one's state"


def test_one_command_makes_the_table(tmp_path, capsys):
    path = write_plan(tmp_path)
    assert main(["ablate", str(path), "--out", str(tmp_path / "out")]) == 0
    table = (tmp_path / "out" / "ablation.md").read_text()
    assert table == capsys.readouterr().out and "near: ADD mm" in table and "far: MAE_r °" in table
    results = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert list(results) == ["TRG", "PnP", "direct", "landmark-free"]
    landmarks = [results[title]["near"]["landmarks_mean"] for title in ("TRG", "PnP")]
    assert landmarks[0] == pytest.approx(landmarks[1], rel=1e-5)
    assert results["TRG"]["near"]["tz"] != results["direct"]["near"]["tz"]


def test_variants_share_pretrained_maps_and_batches_and_are_not_repeated(tmp_path, monkeypatch):
    made, draw = [], MicroBatches.load
    monkeypatch.setattr(
        MicroBatches, "load", lambda self, numbers, workers=0: made.extend(numbers) or draw(self, numbers)
    )
    terms = ("landmarks_head", "landmarks_camera", "landmarks_image", "rotation", "edges")
    still = dict.fromkeys(terms, 0.0)
    path = write_plan(tmp_path, pretrain={"loss": still}, keep_batches=True)
    plan = with_folders(load_plan(path, steps=2, seed=5, only=["direct"]), str(tmp_path / "data"), None)
    assert [variant.title for variant in plan.variants] == ["TRG", "direct"]
    results = run_plan(plan, tmp_path / "out", "cpu")
    assert made == [0, 1], "every batch was made once, for all runs"
    runs, names = tmp_path / "runs" / "seed_5", ("pretrained-maps", "trg", "direct")
    stems = [
        load_checkpoint(runs / name / f"{name}.safetensors").state_dict["backbone.stem.conv.weight"]
        for name in names
    ]
    moved = [float((stem - stems[0]).abs().max()) for stem in stems[1:]]
    assert all(0 < distance < 0.01 for distance in moved), "two small steps from the same maps"
    monkeypatch.setattr(PaperTrainer, "run", lambda self: pytest.fail("trained again"))
    assert run_plan(replace(plan, pretrain=None), tmp_path / "again", "cpu") == results


def test_distances_choose_samples(tmp_path):
    write_rendered(tmp_path / "data", 20)
    near = open_source(SourceConfig("synthetic", str(tmp_path / "data"), distance=(0.0, 0.7)))
    far = open_source(SourceConfig("synthetic", str(tmp_path / "data"), distance=(0.7, 9.0)))
    assert len(near) + len(far) == 20
    assert all((sample.camera_T_head[:3, 3] ** 2).sum() ** 0.5 < 0.7 for sample in near)
    with pytest.raises(InputError, match="no sample that fits"):
        open_source(SourceConfig("synthetic", str(tmp_path / "data"), distance=(8.0, 9.0)))


def test_mistakes_in_a_plan_are_named(tmp_path):
    path = tmp_path / "plan.yaml"
    for content, message in (
        ("base: {}\n", "lacks 'base'"),
        ("base: {name: x}\ntests: {a: {}}\nvariants: {TRG: 3}\n", "'TRG' must be a mapping"),
        ("base: {name: x, output: y, data: [{name: a, root: b}]}\ntests: {a: {name: b, root: c}}\n"
         "variants: {P: {pnp: true}}\n", "first variant can't be pnp"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_plan(path)
    with pytest.raises(InputError, match="no variant 'TGR'; there are TRG, direct"):
        load_plan(PLANS / "synthetic.yaml", only=["TGR"])
    assert main(["ablate", "--data", "synthetic", "--steps", "0"]) == 2


def test_plot_of_the_variants(tmp_path, monkeypatch, caplog):
    row = {"landmarks_mean": 5.0, "mae_r": 1.0, "mae_t": 10.0, "add": 20.0}
    results = {"TRG": {"near": row, "far": row}, "other": {"near": row, "far": {**row, "add": 900.0}}}
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    plot(results, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists() and "pip install 'trg_ros[train]'" in caplog.text
    monkeypatch.undo()
    pytest.importorskip("matplotlib", reason="the plot needs it")
    plot(results, tmp_path / "plot.png")
    height, width, _ = cv2.imread(str(tmp_path / "plot.png")).shape
    assert height > 150 and width == 1100
