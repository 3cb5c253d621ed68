"""The paper's training on written data: it learns, resumes, and is the same on any number of processes."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from dataset_fixtures import heads, write_300wlp, write_arkitface, write_biwi

from trg_ros.checkpoint import load_checkpoint
from trg_ros.cli import main
from trg_ros.errors import CheckpointError, InputError
from trg_ros.evaluation.protocol import NetworkPredictor, evaluate_dataset, summarise_protocol
from trg_ros.release_import import tensor_names
from trg_ros.training.backbone import load_backbone
from trg_ros.training.paper import PaperTrainer
from trg_ros.training.paper_config import PaperConfig, paper_config_from_dict, read_recipe
from trg_ros.training.state import load_state

ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
THREADS_AFTER_TRAINING = """
from pathlib import Path
import torch
from trg_ros.training.paper import distributed

def threads():
    return [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]

with distributed():
    assert any("gloo" in name for name in threads())
    torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
assert not any("gloo" in name for name in threads()), threads()
"""
TINY = {
    "input_size": 32, "stem": "compact", "backbone_widths": [8, 8], "backbone_blocks": [1, 1],
    "deconv_widths": [8, 8], "point_feature_widths": [8, 4], "num_sampled": 305, "grid_size": 4,
    "hidden_width": 32, "iterations": 2, "dropout": 0.2, "landmark_scale": 0.1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_arkitface(root / "arkit", heads(8, seed=40), split="train", size=(200, 200))
    write_300wlp(root / "w300lp", 2, size=200)
    return root


def recipe(root: Path, output: Path, **changes) -> dict:
    return {
        "name": "tiny", "output": str(output), "model": TINY, "workers": 0, "steps": 4,
        "data": [{"name": "arkitface", "root": str(root / "arkit")}],
        "batch_size": 8, "micro_batch": 4, **changes,
    }  # fmt: skip


def trainer(root: Path, output: Path, **changes) -> PaperTrainer:
    return PaperTrainer(paper_config_from_dict(recipe(root, output, **changes)))


def run_in_two_processes(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(
        [*TORCHRUN, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=folder, capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.timeout(400)
@pytest.mark.skipif(sys.platform != "linux", reason="threads' names are read from /proc")
def test_nothing_of_the_process_group_is_left_when_the_interpreter_ends(tmp_path):
    """A thread of it that still works then asks for the interpreter's lock, which aborts the process."""
    script = tmp_path / "threads.py"
    script.write_text(THREADS_AFTER_TRAINING)
    run_in_two_processes([str(script)], tmp_path)


@pytest.mark.timeout(400)
def test_two_processes_equal_one(data, tmp_path):
    """torchrun with gloo: the same batches lead to the same parameters."""
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump({"recipe": "paper", **recipe(data, tmp_path / "two", steps=3)}))
    run_in_two_processes(["-m", "trg_ros", "train", str(config)], tmp_path)
    trainer(data, tmp_path / "one", steps=3).run()
    one, two = (load_state(tmp_path / name / "state.pt")["model"] for name in ("one", "two"))
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0, msg=name)


def test_resumed_run_is_an_uninterrupted_one(data, tmp_path):
    trainer(data, tmp_path / "whole").run()
    trainer(data, tmp_path / "parts").run(until=2)
    second = trainer(data, tmp_path / "parts")
    assert second.step == 2
    second.run()
    whole, parts = (load_state(tmp_path / name / "state.pt")["model"] for name in ("whole", "parts"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, msg=name)
    with pytest.raises(CheckpointError, match="another model"):
        trainer(data, tmp_path / "parts", model={**TINY, "hidden_width": 16})


def test_it_learns_and_leaves_a_checkpoint(data, tmp_path):
    plain = {"roll_probability": 0, "flip_probability": 0, "center_jitter": 0, "size_jitter": 0,
             "colour": [0, 0, 0, 0], "patch_probability": 0}  # fmt: skip
    run = trainer(
        data, tmp_path, steps=80, learning_rate=2e-3, drop_after=[25], augmentation=plain, micro_batch=8,
        model={**TINY, "dropout": 0.0},
    )  # fmt: skip
    batch = next(run.batches.load([0]))  # nothing is random: read it once
    run.batches.load = lambda numbers, workers=0: iter([batch] * len(numbers))
    before = evaluate_dataset(NetworkPredictor(run.checkpoint(), "cpu"), run.dataset)
    run.run()
    checkpoint = load_checkpoint(tmp_path / "tiny.safetensors")
    after = evaluate_dataset(NetworkPredictor(checkpoint, "cpu"), run.dataset)
    first, last = (summarise_protocol(evaluation.errors) for evaluation in (before, after))
    assert last["ge"] < 0.6 * first["ge"] and last["add"] < 0.6 * first["add"], (first, last)


def test_pictures_without_3d_labels_train_too(data, tmp_path):
    sources = [
        {"name": "arkitface", "root": str(data / "arkit")},
        {"name": "300w-lp", "root": str(data / "w300lp")},
    ]
    mixed = trainer(data, tmp_path, data=sources, shares=[1, 1])
    _, _, targets = next(mixed.batches.load([0]))
    numbers = {bool(value) for batch in mixed.batches.load(range(6)) for value in batch[2].has_3d}
    assert numbers == {True, False}
    assert torch.isnan(targets.rotation[~targets.has_3d]).all()
    assert np.isfinite(mixed.run())
    assert all(torch.isfinite(parameter).all() for parameter in mixed.model.parameters())


def test_batches_are_the_same_every_time_and_cover_an_epoch(data, tmp_path):
    run = trainer(data, tmp_path)
    first, again = (next(run.batches.load([1])) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[2].translation, again[2].translation)
    keys = run.batches.keys(0) + run.batches.keys(1)
    assert sorted(index for index, _ in keys) == list(range(8))
    later = run.batches.keys(2) + run.batches.keys(3)
    assert sorted(index for index, _ in later) == list(range(8)) and later != keys


def test_learning_rate_drops_after_epoch_20(data, tmp_path):
    run = trainer(data, tmp_path, steps=None, epochs=30, batch_size=4, micro_batch=4)
    assert run.last_step == 60 and run.learning_rate(39) == 1e-4
    assert run.learning_rate(40) == pytest.approx(1e-5) and run.learning_rate(59) == pytest.approx(1e-5)


def test_resnet18_backbone(data, tmp_path):
    run = trainer(data, tmp_path / "run")
    own = run.model.state_dict()
    given = {
        theirs.removeprefix("feature_extractor."): torch.full_like(own[ours], 3)
        for theirs, ours in tensor_names(run.config.model)
        if theirs.startswith("feature_extractor.")
    }
    torch.save({**given, "fc.weight": torch.zeros(5)}, tmp_path / "resnet.pth")
    load_backbone(run.model, tmp_path / "resnet.pth")
    assert (run.model.backbone.stem.conv.weight == 3).all()
    assert (run.model.backbone.stages[1][0].shortcut.norm.running_var == 3).all()
    del given["layer2.0.conv1.weight"]
    torch.save(given, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"layer2\.0\.conv1\.weight is missing"):
        load_backbone(run.model, tmp_path / "less.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a state dict"):
        load_backbone(run.model, tmp_path / "text.pth")


def test_maps_of_another_network_of_ours(data, tmp_path):
    first = trainer(data, tmp_path / "first", steps=1)
    first.run()
    given = str(tmp_path / "first" / "tiny.safetensors")
    second = trainer(data, tmp_path / "second", seed=5, backbone=given, regressor_rate=0.25)
    own, theirs = second.model.state_dict(), first.model.state_dict()
    parts = {name.split(".")[0] for name, value in own.items() if torch.equal(value, theirs[name])}
    assert {"backbone", "upsamplers", "heatmap_head"} <= parts
    assert not torch.equal(own["regressors.0.hidden.0.weight"], theirs["regressors.0.hidden.0.weight"])
    second.run(until=1)
    assert [group["lr"] for group in second.optimiser.param_groups] == [1e-4, 2.5e-5]
    with pytest.raises(CheckpointError, match=r"backbone\.stem\S+ is missing or of another shape"):
        trainer(data, tmp_path / "third", model={**TINY, "backbone_widths": [16, 8]}, backbone=given)


@pytest.mark.parametrize("name", ["arkitface", "arkitface_300wlp"])
def test_shipped_recipes_are_the_paper_s(name):
    raw = read_recipe(ROOT / "config" / "train" / f"{name}.yaml")
    config = paper_config_from_dict(raw, name)
    assert (config.batch_size, config.epochs, config.drop_after, config.learning_rate) == (
        256,
        30,
        (20,),
        1e-4,
    )
    default = PaperConfig(name=config.name, output=config.output, data=config.data)
    for field in ("model", "augmentation", "loss", "drop_factor"):
        assert getattr(config, field) == getattr(default, field)
    assert [source.name for source in config.data] == ["arkitface", "300w-lp"][: len(config.data)]


def test_mistakes_are_named(data, tmp_path, capsys):
    for changes, message in (
        ({"micro_batch": 3}, "multiple of micro_batch 3"),
        ({"data": []}, "at least one data set"),
        ({"data": [{"name": "arkitface", "rot": "x"}]}, "unknown field 'rot'"),
        ({"epoch": 3}, "unknown field 'epoch'"),
        ({"model": {**TINY, "num_landmarks": 433}}, "there are 433 landmarks"),
        ({"data": [{"name": "300w-lp", "root": str(data / "w300lp")}]}, "no dense landmarks"),
    ):
        with pytest.raises(InputError, match=message):
            trainer(data, tmp_path, **changes)
    config = paper_config_from_dict(recipe(data, tmp_path))
    with pytest.raises(InputError, match="can't be shared by 3 processes"):
        PaperTrainer(config, world=3)
    path = tmp_path / "bad.yaml"
    path.write_text("recipe: soup\n")
    assert main(["train", str(path)]) == 2 and "recipe 'soup' is unknown" in capsys.readouterr().err


def test_command_trains_and_validates(data, tmp_path, capsys):
    write_biwi(tmp_path / "biwi", heads(2))
    validation = {"name": "biwi", "root": str(tmp_path / "biwi"), "boxes": "mesh"}
    path = tmp_path / "run.yaml"
    values = recipe(data, tmp_path / "out", steps=1, validation=validation)
    path.write_text(yaml.safe_dump({"recipe": "paper", **values}))
    assert main(["train", str(path)]) == 0
    assert '"mae_r"' in capsys.readouterr().out
    assert dataclasses.asdict(load_checkpoint(tmp_path / "out" / "tiny.safetensors").info)["name"] == "tiny"
