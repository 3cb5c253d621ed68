"""Devices and back ends by name, and a real network on them."""

import logging

import numpy as np
import pytest
import torch

from trg_ros import backends
from trg_ros.backends import make_backend, resolve_device
from trg_ros.backends.torch_backend import TorchBackend
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo
from trg_ros.errors import DeviceError, InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.model.topology import Topology


@pytest.fixture(scope="module")
def small():
    """A small network with lively batch normalisation."""
    torch.manual_seed(0)
    config = TRGConfig(
        input_size=64,
        stem="compact",
        backbone_widths=(8, 12, 16),
        backbone_blocks=(1, 1, 1),
        deconv_widths=(8, 8, 8),
        point_feature_widths=(8, 4, 3),
        num_landmarks=80,
        num_sampled=20,
        grid_size=5,
        hidden_width=32,
    )
    topology = Topology(np.array([[0, 1, 2]]), np.arange(20), np.arange(68))
    model = TRG(config, topology)
    model.set_initial_state(torch.randn(80, 3) * 0.07)
    for name, value in model.state_dict().items():
        if "running_mean" in name or name.endswith("norm.bias"):
            value.normal_(0, 0.3)
        elif "running_var" in name or name.endswith("norm.weight"):
            value.uniform_(0.5, 1.5)
    return Checkpoint(config, topology, CheckpointInfo(name="small"), model.state_dict())


def test_backend_computes_what_the_model_does(small):
    crops = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    box = np.array([[0.1, 0.0, 0.3], [0.0, -0.1, 0.2]], np.float32)
    with torch.inference_mode():
        normalised = normalise_crops(torch.from_numpy(crops))
        expected = small.build_model()(normalised, torch.from_numpy(box), landmarks68=True)[-1]
    result = make_backend(small, "cpu").infer(crops, box)
    for name in ("landmarks_head", "rotation", "translation", "landmarks68_crop"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), atol=1e-5, rtol=1e-4)


def test_real_network_end_to_end(small, astronaut_bgr):
    """A photo through the whole real path; what an untrained network says is finite and nothing else."""
    estimator = HeadPoseEstimator.load(small, device="cpu", detector=None)
    head = estimator.estimate(
        astronaut_bgr, CameraModel.from_fov(60, 512, 512), [[120.0, 40.0, 320.0, 240.0]]
    )[0]
    assert head.landmarks_camera.shape == (80, 3) and head.covariance.shape == (6, 6)
    assert np.isfinite(head.camera_T_face).all() and 0 <= head.score <= 1
    assert head.landmarks68_image.shape == (68, 2)


def test_threads_are_only_set_when_asked(small):
    before = torch.get_num_threads()
    try:
        make_backend(small, "cpu", "torch")
        assert torch.get_num_threads() == before
        make_backend(small, "cpu", "torch", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(InputError, match="threads is 0"):
        make_backend(small, "cpu", threads=0)


def test_auto_falls_back_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO, logger=backends.__name__):
        assert resolve_device("auto") == "cpu"
    assert "the CPU" in caplog.text


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_an_error(monkeypatch, small, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=f"'{device}' was asked for.*sees no CUDA GPU.*use device 'cpu'"):
        HeadPoseEstimator.load(small, device=device)


@pytest.mark.parametrize("device", ["gpu", "tpu", "", "mps", "cuda:x"])
def test_unknown_devices(device):
    with pytest.raises(DeviceError, match="use auto, cpu, cuda"):
        resolve_device(device)


def test_unknown_backend(small):
    with pytest.raises(InputError, match="'tensorrt' is unknown: use auto, torch, openvino"):
        HeadPoseEstimator.load(small, device="cpu", backend="tensorrt")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_agrees_with_cpu(small):
    crops = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    boxes = np.array([[0.1, 0.0, 0.3]] * 3, np.float32)
    on_cpu = TorchBackend(small, torch.device("cpu")).infer(crops, boxes)
    on_gpu = TorchBackend(small, torch.device("cuda:0")).infer(crops, boxes)
    np.testing.assert_allclose(on_gpu.translation, on_cpu.translation, atol=1e-3)
