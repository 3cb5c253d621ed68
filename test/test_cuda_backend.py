"""The CUDA back end: everything but the GPU runs on the CPU too; on a GPU the same tests run for real."""

import logging

import cv2
import numpy as np
import pytest
import torch
from cuda_rig import (
    CAMERA,
    CPU,
    DEVICES,
    IMAGE,
    SIZES,
    crops_and_boxes,
    needs_gpu,
    tiny_checkpoint,
    windows,
)

from trg_ros.backends import cuda_backend, cuda_graphs, make_backend, selection
from trg_ros.backends.cuda_backend import CudaBackend, make_cuda_backend
from trg_ros.backends.cuda_probe import disagreement, probe
from trg_ros.backends.torch_backend import TorchBackend, without_tf32
from trg_ros.checkpoint import Checkpoint, default_checkpoint_path, load_checkpoint
from trg_ros.crop import cut_crops
from trg_ros.errors import CheckpointError, DeviceError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.pnp import with_pose_source


@pytest.fixture(scope="module")
def tiny():
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def packaged_checkpoint():
    try:
        return load_checkpoint(default_checkpoint_path())
    except CheckpointError as error:
        pytest.skip(str(error))


def exactly_alike(result, expected):
    for name in ("landmarks68_head", "rotation", "translation", "landmarks68_crop", "landmarks_head"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), atol=2e-5, err_msg=name)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_answers_are_those_of_plain_torch(tiny, half, device):
    backend = CudaBackend(tiny, device, half, SIZES)
    plain = TorchBackend(tiny, device)
    assert backend.name == ("cuda fp16 graphs" if half else "cuda fp32 graphs")
    assert backend.device == str(device)
    crops, boxes = crops_and_boxes(7)
    everything = plain.infer(crops, boxes)
    spread = np.abs(everything.landmarks_head - everything.landmarks_head[:1]).max()
    assert spread > 1e-3, "faces that all look the same would make this test empty"
    for count in (3, 1, 7, 2, 4):
        result, expected = backend.infer(crops[:count], boxes[:count]), everything[slice(count)]
        assert all(getattr(result, name).dtype == np.float32 for name in ("rotation", "shape_code"))
        if half:
            assert disagreement(result, expected) is None
        else:
            exactly_alike(result, expected)
    np.testing.assert_allclose(result.landmarks_of(1), result.landmarks_head[1], atol=1e-7)


def test_padding_changes_nothing(tiny):
    """Three faces, whatever lay in the fourth row before, are the three faces."""
    backend = CudaBackend(tiny, CPU, False, SIZES)
    crops, boxes = crops_and_boxes(7)
    before = backend.infer(crops[:3], boxes[:3])
    backend.infer(crops[3:7], boxes[3:7])
    after = backend.infer(crops[:3], boxes[:3])
    for name in ("landmarks68_head", "rotation", "translation", "landmarks68_crop", "shape_code"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_beyond_half_precision_single_takes_over(tiny, caplog):
    """The same function, with activations on its way that overflow in float16."""
    weights, factor = dict(tiny.weights), np.float32(2**20)
    for name in ("weight", "bias"):
        weights[f"backbone.stem.norm.{name}"] = weights[f"backbone.stem.norm.{name}"] * factor
    for part in ("first", "shortcut"):
        name = f"backbone.stages.0.0.{part}.conv.weight"
        weights[name] = weights[name] / factor
    large = Checkpoint(tiny.config, tiny.topology, tiny.info, weights)
    crops, boxes = crops_and_boxes(3)
    result = CudaBackend(large, CPU, True, SIZES).infer(crops, boxes)
    assert "beyond the range of half precision" in caplog.text
    exactly_alike(result, TorchBackend(tiny, CPU).infer(crops, boxes))


def test_half_precision_of_the_packaged_weights(packaged_checkpoint):
    """Only trained weights say what rounding costs."""
    crops, boxes = probe(6, packaged_checkpoint.config.input_size)
    plain = TorchBackend(packaged_checkpoint, CPU).infer(crops, boxes)
    half = CudaBackend(packaged_checkpoint, CPU, True, (6,)).infer(crops, boxes)
    assert disagreement(half, plain) is None
    assert np.abs(half.rotation - plain.rotation).max() > 0, "the same would not be half precision"


def test_probe_is_always_the_same_and_shows_different_faces():
    crops, boxes = probe(4, 64)
    again, _ = probe(4, 64)
    np.testing.assert_array_equal(crops, again)
    assert crops.shape == (4, 64, 64, 3) and crops.dtype == np.uint8 and boxes.dtype == np.float32
    assert all(np.abs(crops[i].astype(int) - crops[j]).mean() > 5 for i in range(4) for j in range(i))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_what_is_right_is_used(tiny, device, caplog):
    with caplog.at_level(logging.WARNING):
        backend = make_cuda_backend(tiny, device, sizes=SIZES)
    assert backend.name == "cuda fp16 graphs" and not caplog.records
    assert backend.sizes == list(SIZES)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_crops_of_the_cutter_are_answered_like_those_of_the_cpu(tiny, device):
    backend = CudaBackend(tiny, device, False, SIZES)
    crops = backend.cutter(IMAGE, CAMERA)(windows())
    assert isinstance(crops, torch.Tensor) and crops.device.type == device.type
    on_cpu = cut_crops(IMAGE, CAMERA, windows(), 64)
    assert np.abs(crops.cpu().numpy().astype(int) - on_cpu).mean() < 0.5  # the CPU rounds positions
    boxes = windows().normalised
    exactly_alike(backend.infer(crops, boxes), backend.infer(crops.cpu().numpy(), boxes))


@pytest.mark.parametrize("mirror", [False, True], ids=["", "mirrored"])
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_estimator_lets_it_cut_and_finds_the_same_heads(tiny, device, mirror):
    """Three looks at each face, in a mirror too; the image goes up once."""
    boxes = [[50, 40, 150, 140], [120, 60, 220, 160], [-20, 90, 90, 200]]
    image = cv2.GaussianBlur(IMAGE, (0, 0), 3)
    backend = CudaBackend(tiny, device, False, SIZES)
    uploads = []
    cutter = backend.cutter
    backend.cutter = lambda *image_and_camera: (uploads.append(1), cutter(*image_and_camera))[1]
    heads = HeadPoseEstimator(tiny, backend, None).estimate(image, CAMERA, boxes, refine=2, mirror=mirror)
    plain = HeadPoseEstimator(tiny, TorchBackend(tiny, CPU), None)
    expected = plain.estimate(image, CAMERA, boxes, refine=2, mirror=mirror)
    assert len(heads) == 3 and uploads == [1]
    for head, other in zip(heads, expected, strict=True):
        # Crops differ by a grey level here and there.
        np.testing.assert_allclose(head.camera_T_head, other.camera_T_head, atol=5e-3)
        np.testing.assert_allclose(head.landmarks_head, other.landmarks_head, atol=1e-3)


def test_landmarks_and_pnp_use_its_crops(tiny):
    backend = with_pose_source(CudaBackend(tiny, CPU, False, SIZES), "pnp")
    heads = HeadPoseEstimator(tiny, backend, None).estimate(IMAGE, CAMERA, [[50, 40, 150, 140]])
    assert len(heads) == 1 and isinstance(backend.cutter(IMAGE, CAMERA)(windows()), torch.Tensor)


def test_a_gpu_is_given_the_cuda_back_end(tiny, monkeypatch):
    monkeypatch.setattr(selection, "resolve_device", lambda device: "cpu" if device == "cpu" else "cuda:0")
    asked = []
    monkeypatch.setattr(cuda_backend, "make_cuda_backend", lambda *args: asked.append(args[1:]) or "it")
    assert [make_backend(tiny, "auto", name, 2) for name in ("auto", "cuda")] == ["it", "it"]
    assert asked == [(torch.device("cuda", 0), 2)] * 2
    with pytest.raises(DeviceError, match="GPU only"):
        make_backend(tiny, "cpu", "cuda")
    with pytest.raises(DeviceError, match="CPU only"):
        make_backend(tiny, "cuda", "openvino")


def test_float32_is_restored_to_what_it_was():
    """The settings are the whole process's; to look at them takes no GPU."""

    def settings():
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    before = settings()
    assert before[0], "torch's default"
    with without_tf32(torch.device("cuda")):
        assert settings() == (False, "highest")
    assert settings() == before
    with without_tf32(CPU):
        assert settings() == before


@needs_gpu
def test_graphs_of_the_packaged_weights_on_a_gpu(packaged_checkpoint, caplog):
    """The whole promise, with all sizes: nothing is left out, nothing is warned of."""
    with caplog.at_level(logging.WARNING):
        backend = make_cuda_backend(packaged_checkpoint, torch.device("cuda", 0))
    assert not caplog.records and backend.name == "cuda fp16 graphs"
    assert backend.sizes == list(cuda_graphs.SIZES)
    crops, boxes = probe(40, packaged_checkpoint.config.input_size)
    plain = TorchBackend(packaged_checkpoint, CPU).infer(crops, boxes)
    assert disagreement(backend.infer(crops, boxes), plain) is None
