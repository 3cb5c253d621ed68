"""The exported network, in ONNX Runtime, against torch."""

import json

import numpy as np
import pytest
import torch
from small_network import random_inputs, small_network

from trg_ros.checkpoint import Checkpoint, CheckpointInfo, save_checkpoint
from trg_ros.cli import main
from trg_ros.model.deploy import DeployedTRG
from trg_ros.model.preprocessing import normalise_crops

VARIANTS = {
    "small weights": {},
    "as the release: no activations": {"regressor_activation": "none"},
    "activations": {"regressor_activation": "relu", "landmark_scale": 0.1, "point_activation": "none"},
    "one map, fixed grid": {"multi_scale": False, "sampling": "grid", "box_feature": "center"},
    "translation directly": {"translation": "direct", "box_feature": "none", "stem": "resnet"},
    "camera-space offset": {"translation": "camera_offset"},
    "local to global": {"translation": "local_to_global"},
    "lateral connections": {"lateral_connections": True, "deconv_widths": (12, 8)},
    "small maps": {"input_size": 32},
    "landmark-free": {"predicts_landmarks": False, "sampling": "grid", "regressor_activation": "silu"},
}


def bytes_and_boxes(count, size=64):
    crops, box = random_inputs(count, size)
    return (crops.permute(0, 2, 3, 1) * 60 + 110).clamp(0, 255).to(torch.uint8).contiguous(), box


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sampled only"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_deployed_network_is_the_network(variant, dense):
    model = small_network(**VARIANTS[variant])
    deployed = DeployedTRG(model, dense)
    crops, box = bytes_and_boxes(3, model.config.input_size)
    with torch.inference_mode():
        expected = model(normalise_crops(crops), box, landmarks68=True)[-1]
        result = deployed(crops, box)
    moved = (expected.rotation_6d - model.initial_pose[:6]).abs().max()
    if model.config.predicts_landmarks:
        moved = (expected.landmarks_head - model.initial_landmarks).abs().max()
    assert moved > 1e-3, "an initial state that nothing changes would make this test empty"
    indices = deployed.landmark_indices
    assert set(model.topology.sampled) | set(model.topology.landmarks68) <= set(indices)
    assert len(indices) == (80 if dense else len(indices)) and (np.diff(indices) > 0).all()
    for name in ("rotation", "translation", "landmarks68_crop"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        result.landmarks_head, expected.landmarks_head[:, indices], atol=1e-6, rtol=1e-5
    )


def test_linear_layers_are_multiplied_out_where_it_pays():
    model = small_network(hidden_width=48)
    refinement = DeployedTRG(model).refinement
    layers = [refinement.regressors, refinement.heads]
    deployed = sum(parameter.numel() for layer in layers for parameter in layer.parameters())
    assert deployed < sum(parameter.numel() for parameter in model.regressors.parameters())
    assert [len(regressor) for regressor in refinement.regressors] == [1, 1, 1]


@pytest.mark.parametrize(
    ("options", "changes"),
    [([], {}), (["--sampled-only"], {"translation": "local_to_global"})],
    ids=["dense", "sampled only, local to global"],
)
def test_export_command_against_onnx_runtime(tmp_path, options, changes, capsys):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the exported file")
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs it")
    model = small_network(**changes)
    checkpoint = Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())
    weights, onnx = tmp_path / "tiny.safetensors", tmp_path / "tiny.onnx"
    save_checkpoint(weights, checkpoint)
    assert main(["export", "--onnx", str(onnx), "--checkpoint", str(weights), *options]) == 0
    assert "tiny" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.onnx", "tiny.safetensors"]
    session = runtime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    metadata = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    indices = np.array(metadata["trg_ros.landmark_indices"])
    np.testing.assert_array_equal(indices[metadata["trg_ros.landmarks68"]], model.topology.landmarks68)
    assert indices[metadata["trg_ros.sellion"]] == model.topology.sellion
    assert metadata["trg_ros.info"]["name"] == "tiny"
    for count in range(1, 6):
        crops, box = bytes_and_boxes(count)
        with torch.inference_mode():
            expected = model(normalise_crops(crops), box, landmarks68=True)[-1]
        names = ["landmarks_head", "rotation", "translation", "landmarks68_crop"]
        result = session.run(names, {"crops_rgb": crops.numpy(), "box": box.numpy()})
        for name, array in zip(names, result, strict=True):
            reference = getattr(expected, name).numpy()
            reference = reference[:, indices] if name == "landmarks_head" else reference
            np.testing.assert_allclose(array, reference, atol=1e-5, rtol=1e-4)


def test_export_says_what_is_missing(tmp_path, monkeypatch, capsys):
    assert main(["export", "--onnx", str(tmp_path / "x.onnx"), "--checkpoint", "nowhere.safetensors"]) == 2
    assert "nowhere.safetensors" in capsys.readouterr().err
    model = small_network()
    checkpoint = Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())
    weights = save_checkpoint(tmp_path / "tiny.safetensors", checkpoint)
    monkeypatch.setattr("trg_ros.onnx_export.find_spec", lambda name: object())
    for place, complaint in ((tmp_path, "a folder"), (tmp_path / "none" / "x.onnx", "its folder")):
        assert main(["export", "--onnx", str(place), "--checkpoint", str(weights)]) == 2
        assert complaint in capsys.readouterr().err
    monkeypatch.setattr("trg_ros.onnx_export.find_spec", lambda name: None)
    assert main(["export", "--onnx", str(tmp_path / "x.onnx"), "--checkpoint", str(weights)]) == 2
    assert "pip install onnx onnxscript" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()
