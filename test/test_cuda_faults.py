"""What the CUDA back end does when a GPU fails or is wrong; the failures are simulated, on the CPU."""

import logging

import numpy as np
import pytest
import torch
from cuda_rig import CAMERA, CPU, IMAGE, SIZES, tiny_checkpoint, windows

from trg_ros.backends import cuda_backend, cuda_graphs, make_backend, selection
from trg_ros.backends.cuda_backend import CudaBackend, make_cuda_backend
from trg_ros.backends.torch_backend import TorchBackend
from trg_ros.crop import cut_crops
from trg_ros.errors import DeviceError


@pytest.fixture(scope="module")
def tiny():
    return tiny_checkpoint()


def _nan(backend):
    backend._batches._network.refinement.heads[-1].bias.data[0] = np.nan


def _pose(backend):
    backend._batches._network.refinement.heads[-1].bias.data[-1] += 0.1


def _rotation(backend):
    backend._batches._network.refinement.heads[-1].bias.data[-7] += 0.01


def _landmarks(backend):
    backend._landmarks.layer.bias.data += 0.0005


def _heatmaps(backend):
    backend._batches._network.features.heatmap_head.conv.weight.data *= -30


def _rows_mixed_up(backend):
    backend._batches._replays[4] = lambda run=backend._batches._replays[4]: (
        run(),
        backend._batches._output.copy_(backend._batches._output.flip(0)),
    )


@pytest.mark.parametrize("damage", [_nan, _pose, _rotation, _landmarks, _heatmaps, _rows_mixed_up])
@pytest.mark.fault("a GPU that computes wrongly (simulated)", "warned of; a slower way that is right")
def test_a_network_that_is_wrong_is_not_used(tiny, damage, monkeypatch, caplog):
    class Damaged(CudaBackend):
        def __init__(self, checkpoint, device, half, sizes):
            super().__init__(checkpoint, device, half, sizes)
            if half:
                self._exact = None
                damage(self)

    monkeypatch.setattr(cuda_backend, "CudaBackend", Damaged)
    with caplog.at_level(logging.WARNING):
        backend = make_cuda_backend(tiny, CPU, sizes=SIZES)
    assert backend.name == "cuda fp32 graphs"
    assert "half precision in CUDA graphs is not used" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, TypeError, AttributeError])
@pytest.mark.fault(
    "CUDA graphs that can't be recorded (simulated)", "warned of; eager torch runs the network"
)
def test_without_graphs_eager_torch_runs(tiny, error, monkeypatch, caplog):
    def fails(*args):
        raise error("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graphs.FixedBatches, "__init__", fails)
    backend = make_cuda_backend(tiny, CPU, sizes=SIZES)
    assert backend.name == "torch fp32"
    assert "not permitted" in caplog.text or "out of memory" in caplog.text
    assert "running in eager torch" in caplog.text


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("no kernel")])
@pytest.mark.fault(
    "a GPU that can't run the network (simulated)", "an error that says what to do; auto: the CPU"
)
def test_a_gpu_that_cannot_run_the_network(tiny, error, monkeypatch, caplog):
    def fails(*args):
        raise error

    monkeypatch.setattr(TorchBackend, "infer", fails)
    with pytest.raises(DeviceError, match="use device cpu"):
        make_cuda_backend(tiny, CPU, sizes=SIZES)
    monkeypatch.setattr(selection, "resolve_device", lambda device: "cuda:0")
    monkeypatch.setattr(cuda_backend, "make_cuda_backend", lambda *args: make_cuda_backend(tiny, CPU))
    assert make_backend(tiny).device == "cpu" and "running on the CPU" in caplog.text
    for asked_for in ({"device": "cuda"}, {"backend": "cuda"}):
        with pytest.raises(DeviceError, match="use device cpu"):
            make_backend(tiny, **asked_for)


def _other_channels(frame, windows):
    return DEVICE_CUT(frame, windows).flip(-1)


def _no_kernel(frame, windows):
    raise RuntimeError("no kernel image is available")


DEVICE_CUT = cuda_backend.DeviceFrame.cut


@pytest.mark.parametrize("cut", [_other_channels, _no_kernel])
def test_crops_that_are_wrong_are_cut_by_the_cpu(tiny, cut, monkeypatch, caplog):
    monkeypatch.setattr(cuda_backend.DeviceFrame, "cut", cut)
    backend = make_cuda_backend(tiny, CPU, sizes=SIZES)
    assert "the CPU cuts them" in caplog.text
    crops = backend.cutter(IMAGE, CAMERA)(windows())
    np.testing.assert_array_equal(crops, cut_crops(IMAGE, CAMERA, windows(), 64))


@pytest.mark.parametrize("where", ["__init__", "cut"])
@pytest.mark.fault("no GPU memory for crops (simulated)", "the CPU cuts them")
def test_without_memory_for_crops_the_cpu_cuts_them(tiny, where, monkeypatch, caplog):
    backend = CudaBackend(tiny, CPU, False, SIZES)

    def fails(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cuda_backend.DeviceFrame, where, fails)
    crops = backend.cutter(IMAGE, CAMERA)(windows())
    assert "no memory" in caplog.text
    np.testing.assert_array_equal(crops, cut_crops(IMAGE, CAMERA, windows(), 64))
