"""8-bit integers: ranges that are found, travel with the weights, and change poses as little as they may."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from backend_cases import checkpoint_of, crops_and_boxes, needs_openvino
from small_network import small_network

from trg_ros.backends import make_backend, openvino_backend
from trg_ros.backends.model_cache import ModelCache
from trg_ros.backends.openvino_backend import OpenVINOBackend, has_vnni, openvino_installed
from trg_ros.checkpoint import load_checkpoint, save_checkpoint
from trg_ros.errors import CheckpointError, DeviceError
from trg_ros.evaluation import quantization
from trg_ros.evaluation.quantization import compare, with_integers
from trg_ros.model.deploy import DeployedTRG
from trg_ros.model.quantization import _best_peak, activation_peaks, quantised
from trg_ros.synthetic.augmentation import TrainingBatch

needs_vnni = pytest.mark.skipif(
    not (openvino_installed() and has_vnni()), reason="needs openvino and a CPU with VNNI"
)
WITH_VNNI = "processor : 0\nflags\t\t: fpu avx2 avx512_vnni sse\n"


@pytest.fixture(scope="module")
def tiny():
    """A tiny checkpoint with activation peaks."""
    checkpoint = checkpoint_of(small_network(regressor_activation="relu"))
    crops, _ = crops_and_boxes(12)
    peaks = activation_peaks(DeployedTRG(checkpoint.build_model()), crops)
    return dataclasses.replace(checkpoint, activation_peaks=peaks)


def answers(network, crops, boxes):
    with torch.inference_mode():
        return network(torch.from_numpy(crops), torch.from_numpy(boxes))


def turned_deg(first, second):
    """(N,) between rotations (N, 3, 3); small ones count, which an arc cosine of float32 would lose."""
    chord = np.linalg.norm(np.asarray(first, float) - np.asarray(second, float), axis=(1, 2))
    return np.degrees(2 * np.arcsin(chord / 8**0.5))


def labelled(network, crops, boxes):
    """A batch whose truth is what the network says, a little off."""
    output = answers(network, crops, boxes)
    turn = cv2.Rodrigues(np.array([0.0, 0.1, 0.0]))[0].astype(np.float32)
    landmarks68 = np.zeros((len(crops), 68, 2), np.float32)
    parts = {
        "crops": crops,
        "box": boxes,
        "rotation": output.rotation.numpy() @ turn,
        "translation": output.translation.numpy() + np.float32(0.1),
        "landmarks_head": output.landmarks_head.numpy() + np.float32(0.01),
        "landmarks68_crop": landmarks68,
    }
    names = [field.name for field in dataclasses.fields(TrainingBatch)]
    return TrainingBatch(**{name: parts.get(name) for name in names})


def test_layers_with_the_same_input_have_the_same_peak(tiny):
    """Otherwise a runtime rounds the same numbers twice."""
    peaks = tiny.activation_peaks
    shortcuts = [name for name in peaks if name.endswith("shortcut.conv")]
    assert shortcuts
    for name in shortcuts:
        assert peaks[name] == peaks[name.replace("shortcut", "first")]


def test_a_peak_cuts_a_lone_spike_but_not_the_rest():
    values = np.random.default_rng(0).uniform(0, 1, 500_000)
    assert _best_peak(values) == pytest.approx(1, abs=0.03)
    values[0] = 2.0
    assert _best_peak(values) < 1.6


def test_rounded_network_is_near_but_not_the_same(tiny):
    network = DeployedTRG(tiny.build_model())
    crops, boxes = crops_and_boxes(8)
    exact, rounded = (
        answers(each, crops, boxes) for each in (network, quantised(network, tiny.activation_peaks))
    )
    turned = turned_deg(exact.rotation, rounded.rotation)
    assert 0 < np.median(turned) < 1.0
    moved = (exact.landmarks_head - rounded.landmarks_head).abs().amax(dim=(1, 2))
    assert 0 < moved.median() < 3e-3


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"box_feature": "none"},
        {"sampling": "grid", "predicts_landmarks": False, "stem": "resnet"},
        {"lateral_connections": True, "deconv_widths": (12, 8)},
    ],
    ids=str,
)
def test_every_variant_can_be_rounded(variant):
    network = DeployedTRG(small_network(**variant))
    crops, boxes = crops_and_boxes(2)
    rounded = quantised(network, activation_peaks(network, crops))
    turned = turned_deg(answers(network, crops, boxes).rotation, answers(rounded, crops, boxes).rotation)
    assert turned.max() < 5


@pytest.mark.parametrize("stem", ["compact", "resnet"])
def test_the_first_convolution_sees_bytes_as_it_saw_colours(stem):
    """Also at the edges, where zeros were the mean colour; in a picture, as weights are rounded for such."""
    network = DeployedTRG(small_network(stem=stem))
    crops, _ = crops_and_boxes(2)
    crops = np.stack([cv2.GaussianBlur(crop, (0, 0), 4.0) for crop in crops])
    rounded = quantised(network, activation_peaks(network, crops))
    first, second = (
        each.features.backbone.stem(each.features.colours(each.bordered(torch.from_numpy(crops))))
        for each in (network, rounded)
    )
    assert (first - second).abs().max() < 0.01 * first.abs().max()


def test_peaks_of_another_network_are_refused(tiny):
    network = DeployedTRG(tiny.build_model())
    peaks = {name: peak for name, peak in tiny.activation_peaks.items() if name != "heatmap_head.conv"}
    with pytest.raises(CheckpointError, match=r"heatmap_head\.conv"):
        quantised(network, peaks)


def test_peaks_travel_with_the_weights(tiny, tmp_path):
    path = save_checkpoint(tmp_path / "tiny.safetensors", tiny)
    assert load_checkpoint(path).activation_peaks == tiny.activation_peaks
    plain = save_checkpoint(path, dataclasses.replace(tiny, activation_peaks=None))
    assert load_checkpoint(plain).activation_peaks is None


@pytest.mark.parametrize("peak", [0.0, -1.0, "large", True])
def test_damaged_peaks_are_named(tiny, tmp_path, peak):
    broken = dataclasses.replace(tiny, activation_peaks={"some.conv": peak})
    path = save_checkpoint(tmp_path / "broken.safetensors", broken)
    with pytest.raises(CheckpointError, match=r"some\.conv must be a number above 0"):
        load_checkpoint(path)


@needs_vnni
def test_openvino_computes_what_torch_simulates(tiny, tmp_path):
    """Ties may be rounded to either side; so most heads agree far better than rounding changes them."""
    crops, boxes = crops_and_boxes(8)
    network = DeployedTRG(tiny.build_model())
    exact = answers(network, crops, boxes)
    simulated = answers(quantised(network, tiny.activation_peaks), crops, boxes)
    backend = OpenVINOBackend(tiny, "int8", 1, ModelCache(tmp_path))
    result = backend.infer(crops, boxes)
    assert backend.name == "openvino int8"
    apart = turned_deg(result.rotation, simulated.rotation)
    changed = turned_deg(exact.rotation, simulated.rotation)
    assert np.median(apart) < 0.5 * np.median(changed)
    again = OpenVINOBackend(tiny, "int8", 1, ModelCache(tmp_path)).infer(crops, boxes)
    assert np.median(turned_deg(again.rotation, simulated.rotation)) < 0.5 * np.median(changed)


@needs_vnni
def test_precisions_and_peaks_do_not_share_a_cache_entry(tiny, tmp_path):
    cache = ModelCache(tmp_path)
    crops, boxes = crops_and_boxes(2)
    integers = OpenVINOBackend(tiny, "int8", 1, cache).infer(crops, boxes)
    floats = OpenVINOBackend(tiny, "fp32", 1, cache).infer(crops, boxes)
    exact = answers(DeployedTRG(tiny.build_model()), crops, boxes)
    np.testing.assert_allclose(floats.rotation, exact.rotation.numpy(), atol=1e-5)
    halved = {name: 0.5 * peak for name, peak in tiny.activation_peaks.items()}
    others = dataclasses.replace(tiny, activation_peaks=halved)
    assert not np.array_equal(
        OpenVINOBackend(others, "int8", 1, cache).infer(crops, boxes).rotation, integers.rotation
    )


@needs_vnni
def test_auto_takes_integers_if_weights_and_cpu_are_fit(tiny):
    plain = dataclasses.replace(tiny, activation_peaks=None)
    assert make_backend(tiny, "cpu", threads=1).name == "openvino int8"
    assert make_backend(tiny, "cpu", "openvino", threads=1).name == "openvino fp32"
    assert make_backend(plain, "cpu", threads=1).name == "openvino fp32"
    with pytest.raises(DeviceError, match="no activation peaks; run `trg-headpose calibrate`"):
        make_backend(plain, "cpu", "openvino-int8")


@needs_openvino
@pytest.mark.parametrize("cpuinfo", ["flags : fpu avx2\n", "Features : asimd\n", None])
def test_a_cpu_without_vnni_computes_in_float(tiny, monkeypatch, tmp_path, cpuinfo):
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(openvino_backend, "_CPUINFO", path)
    assert make_backend(tiny, "cpu", threads=1).name == "openvino fp32"
    with pytest.raises(DeviceError, match="no VNNI"):
        make_backend(tiny, "cpu", "openvino-int8")


def test_vnni_is_found_among_the_flags(monkeypatch, tmp_path: Path):
    path = tmp_path / "cpuinfo"
    path.write_text(WITH_VNNI)
    monkeypatch.setattr(openvino_backend, "_CPUINFO", path)
    assert has_vnni()


def test_calibration_reports_what_integers_cost(tiny):
    crops, boxes = crops_and_boxes(8)
    network = DeployedTRG(tiny.build_model())
    integers = quantised(network, tiny.activation_peaks)
    report = compare(network, network, integers, labelled(network, crops, boxes))
    assert report["samples"] == 8
    assert report["error_ratio"]["translation"] == pytest.approx(1, abs=0.2)
    assert 0 < report["difference"]["rotation_deg"]["median"] <= report["difference"]["rotation_deg"]["worst"]


@pytest.mark.parametrize(("ratio", "kept"), [(1.009, True), (1.011, False)])
def test_integers_that_cost_too_much_are_left_alone(tiny, monkeypatch, ratio, kept):
    report = {"error_ratio": {"rotation": ratio, "landmarks": 0.9}}
    monkeypatch.setattr(quantization, "compare", lambda *_: report)
    plain = dataclasses.replace(tiny, activation_peaks=None)
    crops, boxes = crops_and_boxes(2)
    batch = labelled(DeployedTRG(tiny.build_model()), crops, boxes)
    calibrated = with_integers(plain, crops, boxes, batch)
    assert calibrated.info.measured_errors["int8"] == report
    assert (calibrated.activation_peaks is not None) == kept
    name = "regressors.0.hidden.1.weight"
    assert np.array_equal(calibrated.weights[name], plain.weights[name]) != kept
