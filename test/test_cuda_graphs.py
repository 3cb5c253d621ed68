"""Graphs for fixed numbers of faces: which one runs, what it may record, what happens without memory for it.

Without a GPU the network runs on the same buffers with graphs switched off.
"""

import threading

import numpy as np
import pytest
import torch
from cuda_rig import CPU, DEVICES, SIZES, crops_and_boxes
from small_network import small_network
from torch.overrides import TorchFunctionMode

from trg_ros.backends import cuda_graphs
from trg_ros.backends.cuda_graphs import FixedBatches, is_out_of_memory
from trg_ros.backends.cuda_network import PackedNetwork
from trg_ros.model.deploy import DeployedTRG


class RowSums(torch.nn.Module):
    """Rows that say which crop and which box they are of."""

    def forward(self, crops, boxes):
        return torch.cat([crops.flatten(1).float().sum(1, keepdim=True), boxes], dim=1)


def numbered(count):
    crops = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 3))
    boxes = np.arange(3.0 * count, dtype=np.float32).reshape(count, 3)
    return crops, boxes, np.concatenate([48.0 * np.arange(count)[:, None], boxes], axis=1)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("on_device", [False, True], ids=["from the host", "on the device"])
def test_every_number_of_faces_is_answered_in_order(device, on_device):
    batches = FixedBatches(RowSums().to(device), 4, device, SIZES)
    assert batches.sizes == [1, 2, 4]
    for count in (3, 1, 4, 2, 3, 5, 8, 9, 1):
        crops, boxes, expected = numbered(count)
        given = torch.from_numpy(crops.copy()).to(device) if on_device else crops
        np.testing.assert_array_equal(batches.run(given, boxes), expected)


def test_a_request_runs_in_the_next_larger_size(monkeypatch):
    ran = []
    step = FixedBatches._step
    monkeypatch.setattr(FixedBatches, "_step", lambda self, size: (ran.append(size), step(self, size)))
    batches = FixedBatches(RowSums(), 4, CPU)
    for count, sizes in {1: [1], 2: [2], 3: [4], 5: [8], 16: [16], 17: [32], 32: [32], 35: [32, 4]}.items():
        batches.run(*numbered(count)[:2])
        assert ran == sizes, count
        ran.clear()


def test_answers_belong_to_the_caller():
    batches = FixedBatches(RowSums(), 4, CPU, SIZES)
    crops, boxes, expected = numbered(2)
    first = batches.run(crops, boxes)
    batches.run(crops[::-1], boxes[::-1])
    np.testing.assert_array_equal(first, expected)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_threads_take_turns(device):
    batches = FixedBatches(RowSums().to(device), 4, device, SIZES)
    wrong = []

    def work(count):
        crops, boxes, expected = numbered(count)
        for _ in range(100):
            if not np.array_equal(batches.run(crops, boxes), expected):
                wrong.append(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in (1, 3, 4, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class FakeRecorder:
    """Records as a GPU with room for `room` faces would: replays write where the recorded step wrote."""

    def __init__(self, room, monkeypatch):
        self.room, self.order = room, []
        monkeypatch.setattr(cuda_graphs, "_Recorder", lambda device: self)

    def record(self, step):
        size = step.args[0]
        self.order.append(size)
        if size > self.room:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        return step


class PretendedGpu:
    """As far as `FixedBatches` asks for one; all tensors are on the CPU."""

    type = "cuda"

    def __str__(self):
        return "cuda:0"


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A device that is the CPU, and says that it is a GPU."""
    monkeypatch.setattr(FixedBatches, "_pinned", lambda self, shape, dtype: torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(FixedBatches, "_wait", lambda self: None)
    monkeypatch.setattr(FixedBatches, "working", lambda self: torch.inference_mode())
    empty, zeros = torch.empty, torch.zeros
    monkeypatch.setattr(torch, "empty", lambda *a, device=None, **k: empty(*a, **k))
    monkeypatch.setattr(torch, "zeros", lambda *a, device=None, **k: zeros(*a, **k))
    return PretendedGpu()


@pytest.mark.fault("no GPU memory for large batches (simulated)", "smaller ones, the same heads")
def test_sizes_without_memory_are_left_out(pretended_gpu, monkeypatch, caplog):
    recorder = FakeRecorder(2, monkeypatch)
    batches = FixedBatches(RowSums(), 4, pretended_gpu, (1, 2, 4, 8))
    assert recorder.order == [8, 4, 2, 1], "the largest first, the others use its memory"
    assert batches.sizes == [1, 2] and "no memory for graphs of 4 faces" in caplog.text
    crops, boxes, expected = numbered(7)
    np.testing.assert_array_equal(batches.run(crops, boxes), expected)


def test_no_memory_at_all_is_an_error(pretended_gpu, monkeypatch):
    FakeRecorder(0, monkeypatch)
    with pytest.raises(RuntimeError) as error:
        FixedBatches(RowSums(), 4, pretended_gpu, (1, 2))
    assert is_out_of_memory(error.value) and not is_out_of_memory(RuntimeError("no kernel image"))


_OF_THE_HOST = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "nonzero", "tensor",
                "as_tensor", "from_numpy", "unique", "masked_select", "synchronize"}  # fmt: skip


class AsksTheHost(TorchFunctionMode):
    """Finds what can't be recorded in a graph: values that come from the host, or go there."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", str(func))
        if name in _OF_THE_HOST:
            self.found.append(name)
        if name in ("__getitem__", "__setitem__"):
            indices = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(index, (list, np.ndarray)) for index in indices):
                self.found.append("an index from the host")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "variant", [{}, {"sampling": "grid"}, {"translation": "local_to_global"}, {"stem": "resnet"}], ids=str
)
def test_what_a_graph_records_asks_nothing_of_the_host(variant):
    network = PackedNetwork(DeployedTRG(small_network(**variant)), half=True)
    crops, boxes = (torch.from_numpy(array) for array in crops_and_boxes(2))
    with torch.inference_mode(), AsksTheHost() as watch:
        network(crops, boxes)
    assert not watch.found
    with watch:
        boxes[:, [2, 0, 1]]
    assert watch.found, "the watch itself"
