"""Weights for integers: rounded so that poses hardly turn, kept as they are by storing and rounding again."""

import numpy as np
import pytest
import torch
from backend_cases import assert_agree, checkpoint_of, crops_and_boxes, needs_openvino
from small_network import small_network
from torch import nn

from trg_ros.backends.openvino_backend import OpenVINOBackend
from trg_ros.backends.torch_backend import TorchBackend
from trg_ros.checkpoint import load_checkpoint, save_checkpoint
from trg_ros.model.deploy import DeployedTRG
from trg_ros.model.deployed_points import looking_iterations
from trg_ros.model.quantization import QuantisedLinear, RoundedWeight, activation_peaks, quantised
from trg_ros.model.rounding import silenced, with_rounded_regressors

CROPS, BOXES = crops_and_boxes(200)


def answers(network, count=200):
    with torch.inference_mode():
        return network(torch.from_numpy(CROPS[:count]), torch.from_numpy(BOXES[:count]))


def with_integer_regressors(model):
    """Its refinement as integers have it; everything else in float."""
    network = DeployedTRG(model)
    network.refinement = quantised(network, activation_peaks(network, CROPS[:4])).refinement
    return network


def change(first, second):
    return float((first.rotation - second.rotation).square().mean().sqrt())


@pytest.mark.parametrize(
    "variant", [{}, {"box_feature": "none"}, {"sampling": "grid", "predicts_landmarks": False}], ids=str
)
def test_weights_make_up_for_each_other(variant):
    model = small_network(regressor_activation="relu", **variant)
    exact = answers(DeployedTRG(model))
    rounded = with_rounded_regressors(model, CROPS[:100], BOXES[:100])
    plainly = change(answers(with_integer_regressors(model)), exact)
    cleverly = change(answers(DeployedTRG(rounded)), exact)
    assert 0 < cleverly < 0.7 * plainly
    assert change(answers(with_integer_regressors(rounded)), exact) == pytest.approx(cleverly, rel=0.05)


def test_rounded_weights_survive_storage_in_half_precision(tmp_path):
    model = small_network(regressor_activation="relu")
    rounded = with_rounded_regressors(model, CROPS[:50], BOXES[:50])
    path = save_checkpoint(tmp_path / "rounded.safetensors", checkpoint_of(rounded), np.float16)
    stored = load_checkpoint(path).build_model()
    exact, integers = (answers(make(stored)) for make in (DeployedTRG, with_integer_regressors))
    plain = answers(with_integer_regressors(model))
    assert change(integers, exact) < 0.3 * change(plain, answers(DeployedTRG(model)))


def test_rounding_twice_changes_nothing():
    layer = nn.Linear(40, 12)
    once = QuantisedLinear(layer).weight()
    assert not torch.equal(once, layer.weight)
    once[3] *= 120 / 127  # whose largest weight isn't a whole number of the steps that it would have
    torch.testing.assert_close(RoundedWeight(once, 0)(), once)
    torch.testing.assert_close(RoundedWeight(once.T.contiguous(), 1)(), once.T)


def blinded(model, iteration, channels=slice(None)):
    """Outputs of an iteration's point features that a ReLU keeps at zero."""
    last = model.point_features[iteration].layers[-1]
    with torch.no_grad():
        last.bias[channels] = -1e3
    return model


@pytest.mark.parametrize("iteration", [0, 1, 2])
def test_an_iteration_that_sees_nothing_does_not_look(iteration):
    model = blinded(small_network(regressor_activation="relu"), iteration)
    assert looking_iterations(model) == [0, 1, 2], "nobody can know from the weights alone"
    silent = silenced(model, CROPS[:20], BOXES[:20])
    assert looking_iterations(silent) == [index for index in range(3) if index != iteration]
    before, after = DeployedTRG(model), DeployedTRG(silent)
    for name in ("landmarks_head", "rotation", "translation", "landmarks68_crop"):
        torch.testing.assert_close(getattr(answers(after), name), getattr(answers(before), name))
    assert len(after.features(torch.from_numpy(CROPS[:1]))) == 1 + 2
    quantised(after, activation_peaks(after, CROPS[:4]))


def test_what_speaks_is_left_alone():
    model = blinded(small_network(), 1, slice(1, 2))
    silent = silenced(model, CROPS[:20], BOXES[:20])
    last = silent.point_features[1].layers[-1]
    assert last.weight.flatten(1).any(dim=1).tolist() == [True, False, True]
    torch.testing.assert_close(last.weight[[0, 2]], model.point_features[1].layers[-1].weight[[0, 2]])
    assert change(answers(DeployedTRG(silent)), answers(DeployedTRG(model))) < 1e-6


@needs_openvino
@pytest.mark.parametrize("iterations", [[2], [0, 1, 2]], ids=str)
def test_blind_networks_run_everywhere(iterations):
    model = small_network(regressor_activation="relu")
    for iteration in iterations:
        blinded(model, iteration)
    checkpoint = checkpoint_of(silenced(model, CROPS[:20], BOXES[:20]))
    reference = TorchBackend(checkpoint, torch.device("cpu")).infer(CROPS[:3], BOXES[:3])
    assert_agree(OpenVINOBackend(checkpoint, threads=1).infer(CROPS[:3], BOXES[:3]), reference, 1e-3)
