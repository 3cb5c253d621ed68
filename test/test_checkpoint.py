"""Checkpoints: what is saved comes back, and everything else is refused with a line that says why."""

import argparse
import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_network import NUM_LANDMARKS, random_inputs, small_network

from trg_ros import checkpoint as checkpoint_module
from trg_ros.checkpoint import (
    METADATA_KEY,
    Checkpoint,
    CheckpointInfo,
    default_checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from trg_ros.commands import info as info_command
from trg_ros.errors import CheckpointError
from trg_ros.model.state import expected_state


def small_checkpoint(**info: object) -> Checkpoint:
    model = small_network()
    known = {
        "name": "small",
        "license": "Apache-2.0",
        "measured_errors": {"samples": 3, "rotation_std_deg": [1, 2, 3]},
    }
    return Checkpoint(model.config, model.topology, CheckpointInfo(**{**known, **info}), model.state_dict())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("saved") / "small.safetensors", small_checkpoint())


def test_round_trip(saved: Path) -> None:
    original, loaded = small_checkpoint(), load_checkpoint(saved)
    assert loaded.config == original.config
    assert dataclasses.replace(loaded.info, created="") == original.info
    assert loaded.info.created.endswith("+00:00")
    for part in ("triangles", "sampled", "landmarks68", "flip"):
        np.testing.assert_array_equal(getattr(loaded.topology, part), getattr(original.topology, part))
    model = loaded.build_model()
    assert not model.training
    crops, box = random_inputs(2)
    with torch.inference_mode():
        for ours, theirs in zip(model(crops, box), small_network()(crops, box), strict=True):
            assert torch.equal(ours.landmarks_camera, theirs.landmarks_camera)


def test_one_checkpoint_builds_independent_models(saved: Path) -> None:
    loaded = load_checkpoint(saved)
    first, second = loaded.build_model(), loaded.build_model(torch.float16)
    first.initial_landmarks.zero_()
    assert second.initial_landmarks.abs().max() > 0
    assert second.initial_landmarks.dtype == torch.float32
    assert second.backbone.stem.conv.weight.dtype == torch.float16


def test_half_precision_storage_keeps_what_needs_precision(tmp_path: Path, saved: Path) -> None:
    path = save_checkpoint(tmp_path / "half.safetensors", small_checkpoint(), dtype=np.float16)
    assert path.stat().st_size < 0.7 * saved.stat().st_size
    full, half = load_checkpoint(saved), load_checkpoint(path)
    assert {value.dtype for value in half.weights.values()} == {np.dtype(np.float32), np.dtype(np.int64)}
    np.testing.assert_array_equal(full.weights["initial_landmarks"], half.weights["initial_landmarks"])
    crops, box = random_inputs(2)
    with torch.inference_mode():
        difference = full.build_model()(crops, box)[-1].landmarks_camera
        difference = difference - half.build_model()(crops, box)[-1].landmarks_camera
    assert 0 < difference.abs().max() < 1e-3


def test_topology_without_flip(tmp_path: Path) -> None:
    original = small_checkpoint()
    topology = dataclasses.replace(original.topology, flip=None)
    path = save_checkpoint(tmp_path / "a.safetensors", dataclasses.replace(original, topology=topology))
    assert load_checkpoint(path).topology.flip is None


VARIANTS: dict[str, dict[str, object]] = {
    "small": {},
    "resnet stem": {"stem": "resnet", "backbone_widths": (8, 8, 16)},
    "one stage": {"backbone_widths": (8,), "backbone_blocks": (1,)},
    "lateral connections": {"lateral_connections": True, "deconv_widths": (12, 8)},
    "grid": {"sampling": "grid", "multi_scale": False, "box_feature": "center"},
    "poses only": {"sampling": "grid", "predicts_landmarks": False, "box_feature": "none"},
    "one iteration": {"iterations": 1, "heatmap_level": 0},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_what_a_checkpoint_must_hold_is_what_the_network_has(changes: dict[str, object]) -> None:
    """Checkpoints are checked without torch; that knows the network's tensors by itself."""
    network = small_network(**changes)
    state = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert expected_state(network.config, network.topology) == state


def rewrite(
    path: Path, change: Callable[[dict[str, torch.Tensor], dict], None], text: str | None = None
) -> None:
    """Write the file again with changed tensors and metadata; `text` replaces the metadata altogether."""
    tensors = load_file(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    metadata = json.loads(header["__metadata__"][METADATA_KEY])
    change(tensors, metadata)
    save_file(tensors, path, {METADATA_KEY: json.dumps(metadata) if text is None else text})


def tensors_without(name: str) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda tensors, _: tensors.pop(name))


def tensor_becomes(name: str, value: torch.Tensor) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda tensors, _: tensors.update({name: value}))


def metadata_becomes(text: str) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda *_: None, text)


def config_becomes(**changes: object) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda _, metadata: metadata["config"].update(changes))


def info_becomes(**changes: object) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda _, metadata: metadata["info"].update(changes))


def content_becomes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return apply


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def torch_pickle(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)


def foreign_safetensors(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})


def foreign_safetensors_without_metadata(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


FIRST = "model.backbone.stem.conv.weight"
CORRUPTIONS = {
    "missing": (missing, "no such file"),
    "folder": (folder, "a folder"),
    "empty": (content_becomes(lambda _: b""), "not a safetensors file, or a damaged one"),
    "text": (content_becomes(lambda _: b"hello world, I am a checkpoint"), "damaged"),
    "noise": (content_becomes(lambda raw: np.random.default_rng(0).bytes(len(raw))), "damaged"),
    "cut in half": (content_becomes(lambda raw: raw[: len(raw) // 2]), "damaged"),
    "one byte short": (content_becomes(lambda raw: raw[:-1]), "damaged"),
    "one byte more": (content_becomes(lambda raw: raw + b"0"), "damaged"),
    "cut in the header": (content_becomes(lambda raw: raw[:100]), "damaged"),
    "absurd header size": (content_becomes(lambda raw: b"\xff" * 8 + raw[8:]), "damaged"),
    "broken header": (content_becomes(lambda raw: raw[:8] + b"[" + raw[9:]), "damaged"),
    "torch pickle": (torch_pickle, "not a safetensors file"),
    "other safetensors": (foreign_safetensors, "not a trg_ros checkpoint .* import-release"),
    "bare safetensors": (foreign_safetensors_without_metadata, "not a trg_ros checkpoint"),
    "broken JSON": (metadata_becomes('{"config": '), "not valid JSON"),
    "deep JSON": (metadata_becomes("[" * 100_000), "not valid JSON"),
    "JSON list": (metadata_becomes("[]"), "must be a JSON object, not list"),
    "no version": (metadata_becomes("{}"), "checkpoint format None"),
    "newer version": (
        metadata_becomes('{"format_version": 99}'),
        "checkpoint format 99; this trg_ros reads 1",
    ),
    "no config": (metadata_becomes('{"format_version": 1}'), "no 'config'"),
    "config list": (metadata_becomes('{"format_version": 1, "config": []}'), "no 'config'"),
    "unknown config": (config_becomes(depth=3), "unknown field 'depth'"),
    "bad config": (config_becomes(iterations="three"), "iterations must be an integer"),
    "huge config": (config_becomes(hidden_width=10**12), "hidden_width must be"),
    "other config": (config_becomes(hidden_width=16_384), r"of another shape: .*hidden\.0.*16384"),
    "info type": (info_becomes(license=3), "license must be a str"),
    "info unknown": (info_becomes(colour="red"), "unknown field 'colour'"),
    "info nameless": (info_becomes(name=""), "lacks a name"),
    "tensor missing": (tensors_without(FIRST), r"1 missing: backbone\.stem\.conv\.weight"),
    "tensor extra": (tensor_becomes("model.extra", torch.zeros(2)), "1 extra: extra"),
    "tensor shape": (tensor_becomes(FIRST, torch.zeros(8, 3, 7, 7)), "8x3x7x7 instead of 8x3x3x3"),
    "tensor type": (tensor_becomes(FIRST, torch.zeros(8, 3, 3, 3).int()), r"of another type: .*int32"),
    "tensor NaN": (tensor_becomes(FIRST, torch.full((8, 3, 3, 3), torch.nan)), "1 with NaN or infinity"),
    "tensor changed": (tensor_becomes(FIRST, torch.zeros(8, 3, 3, 3)), "not those that were written"),
    "no topology": (tensors_without("topology.triangles"), r"lacks \['triangles'\]"),
    "more topology": (tensor_becomes("topology.colours", torch.zeros(1)), r"unknown \['colours'\]"),
    "topology range": (tensor_becomes("topology.triangles", torch.full((4, 3), 80)), "triangles has indices"),
    "topology type": (tensor_becomes("topology.sampled", torch.zeros(20)), "sampled must hold integers"),
    "topology count": (tensor_becomes("topology.sampled", torch.arange(7)), "7 sampled"),
}


@pytest.mark.parametrize(("corrupt", "complaint"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_damaged_and_foreign_files_are_refused(
    tmp_path: Path, saved: Path, corrupt: Callable[[Path], None], complaint: str
) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(saved.read_bytes())
    load_checkpoint(path)
    corrupt(path)
    with pytest.raises(CheckpointError, match=complaint) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_many_wrong_tensors_are_not_all_listed(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(saved.read_bytes())
    rewrite(path, lambda tensors, _: [tensors.pop(name) for name in list(tensors) if "regressors" in name])
    with pytest.raises(CheckpointError, match=r"24 missing: (\S+, ){5}\S+ and 18 more$"):
        load_checkpoint(path)


def test_nothing_half_written(tmp_path: Path) -> None:
    good = small_checkpoint()
    target = tmp_path / "a.safetensors"
    incomplete = dict(good.weights)
    del incomplete["initial_pose"]
    with pytest.raises(CheckpointError, match="1 missing: initial_pose"):
        save_checkpoint(target, dataclasses.replace(good, weights=incomplete))
    large = {**good.weights, "heatmap_head.conv.weight": torch.full((68, 8, 1, 1), 1e6)}
    with pytest.raises(CheckpointError, match="store it as float32"):
        save_checkpoint(target, dataclasses.replace(good, weights=large), dtype=np.float16)
    with pytest.raises(CheckpointError, match="finite numbers"):
        save_checkpoint(target, small_checkpoint(measured_errors={"mae_yaw_deg": float("nan")}))
    with pytest.raises(CheckpointError, match="must be JSON"):
        save_checkpoint(target, small_checkpoint(provenance={"script": object()}))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match="can't be written"):
        save_checkpoint(tmp_path / "no" / "such" / "folder.safetensors", good)
    (tmp_path / "taken").mkdir()
    with pytest.raises(CheckpointError, match="can't be written"):
        save_checkpoint(tmp_path / "taken", good)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_default_checkpoint(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "WEIGHTS_DIRECTORY", tmp_path)
    with pytest.raises(CheckpointError, match="no packaged weights"):
        default_checkpoint_path()
    only = tmp_path / "some.safetensors"
    only.write_bytes(saved.read_bytes())
    assert default_checkpoint_path() == only
    (tmp_path / "other.safetensors").touch()
    with pytest.raises(CheckpointError, match="2 packaged weights"):
        default_checkpoint_path()
    (tmp_path / "default.safetensors").touch()
    assert default_checkpoint_path().name == "default.safetensors"


def run_info(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    info_command.add_arguments(parser)
    return info_command.main(parser.parse_args(arguments))


def test_info_command(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_info(str(saved), "--json") == 0
    described = json.loads(capsys.readouterr().out)
    assert described["information"]["name"] == "small"
    assert described["network"]["num_landmarks"] == NUM_LANDMARKS
    assert described["topology"]["mirror_symmetric"] is True
    assert described["file"]["parameters"] == sum(p.numel() for p in small_network().parameters())
    assert run_info(str(saved)) == 0
    text = capsys.readouterr().out
    assert text.startswith("small 1\n") and f"{saved}, " in text and "licence" in text
    assert "training data" not in text, "nothing is stated"
    assert max(map(len, text.splitlines())) <= 100
