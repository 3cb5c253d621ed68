"""`trg-headpose evaluate` on every data set, with a network that knows nothing, from files to report."""

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_fixtures import heads, write_arkitface, write_biwi, write_rendered
from small_network import small_network

from trg_ros.checkpoint import Checkpoint, CheckpointInfo, save_checkpoint
from trg_ros.cli import main
from trg_ros.evaluation.held_out import HeldOutHeads
from trg_ros.evaluation.protocol import NetworkPredictor
from trg_ros.evaluation.rendered import HeldOutSet, predict_poses

pytest.importorskip("numba", reason="rendered pictures are spoiled by numba kernels")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = small_network()
    path = tmp_path / "small.safetensors"
    save_checkpoint(
        path, Checkpoint(model.config, model.topology, CheckpointInfo(name="s"), model.state_dict())
    )
    return path


@pytest.mark.parametrize("dataset", ["arkitface", "biwi", "synthetic"])
def test_from_data_set_to_report(dataset, tmp_path, checkpoint, capsys):
    root, out = tmp_path / "data", tmp_path / "out"
    options = []
    if dataset == "arkitface":
        write_arkitface(root, heads(3))
    elif dataset == "biwi":
        write_biwi(root, heads(3))
        options = ["--boxes", "mesh"]
    else:
        write_rendered(root, 3)
    arguments = [
        "--dataset",
        dataset,
        "--data",
        str(root),
        "--checkpoint",
        str(checkpoint),
        "--device",
        "cpu",
    ]
    assert main(["evaluate", *arguments, *options, "--out", str(out), "--every", "2"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["samples"] == 2 and np.isfinite(list(report["errors"].values())).all()
    table = (out / "report.md").read_text()
    assert table in capsys.readouterr().out
    assert ("TRG + 300W-LP, paper" in table) == (dataset != "synthetic")
    assert (out / "worst.png").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [(["--size", "1000000"], "input_size must be"), (["--out", "file"], "--out file is a file")],
)
def test_what_cannot_be_meant_is_told_before_the_data_are_read(
    option, message, tmp_path, checkpoint, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("precious")
    arguments = ["--dataset", "synthetic", "--data", "missing", "--checkpoint", str(checkpoint)]
    assert main(["evaluate", *arguments, *option]) == 2
    assert message in capsys.readouterr().err and Path("file").read_text() == "precious"


@pytest.mark.parametrize(
    ("dataset", "option"),
    [
        ("synthetic", ["--pose-source", "pnp"]),
        ("synthetic", ["--out", "out", "--size", "64"]),
        ("sequences", ["--data", "folder"]),
        ("arkitface", ["--boxes", "mesh"]),
        ("biwi", ["-n", "3"]),
    ],
)
def test_no_option_is_ignored(dataset, option, capsys):
    assert main(["evaluate", "--dataset", dataset, *option]) == 2
    assert f"{option[-2]} has no meaning for --dataset {dataset}" in capsys.readouterr().err


def test_pnp_can_be_measured(tmp_path, checkpoint, capsys):
    write_biwi(tmp_path / "b", heads(2))
    arguments = ["--dataset", "biwi", "--data", str(tmp_path / "b"), "--boxes", "mesh", "--device", "cpu"]
    assert main(["evaluate", *arguments, "--checkpoint", str(checkpoint), "--pose-source", "pnp"]) == 0
    assert "small.safetensors (pnp)" in capsys.readouterr().out


def test_an_absent_data_set_is_one_line(tmp_path, checkpoint, capsys):
    arguments = ["--data", str(tmp_path), "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main(["evaluate", "--dataset", "arkitface", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "expected layout of ARKitFace" in error


def test_held_out_crops_reach_the_network_unchanged(tmp_path):
    """The protocol's way through a camera and a box, and training's own way, are the same to rounding."""
    write_rendered(tmp_path, 4)
    held_out = HeldOutSet.load(tmp_path, 4)
    model = small_network()
    size = model.config.input_size
    checkpoint = Checkpoint(model.config, model.topology, CheckpointInfo(name="s"), model.state_dict())
    dataset = HeldOutHeads(held_out, size)
    mine = NetworkPredictor(checkpoint, "cpu")(list(dataset))
    theirs = predict_poses(model, held_out.crops(size))
    np.testing.assert_allclose(mine.translation, theirs.translation, rtol=1e-3)
    np.testing.assert_allclose(mine.rotation, theirs.rotation, atol=1e-3)
    truth = held_out.truth(held_out.crops(size))
    for index, sample in enumerate(dataset):
        np.testing.assert_allclose(sample.camera_T_head[:3, 3], truth.translation[index], atol=1e-7)
