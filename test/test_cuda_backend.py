"""The CUDA back end: everything but the GPU runs on the CPU too; on a GPU the same tests run for real.

Without one, the code runs on the CPU with graphs switched off, and what a graph would record is shown to ask
nothing of the host.
"""

import logging
import threading

import cv2
import numpy as np
import pytest
import torch
from small_network import random_inputs, small_network
from torch.overrides import TorchFunctionMode

from trg_ros.backends import cuda_backend, cuda_graphs, make_backend, selection
from trg_ros.backends.cuda_backend import CudaBackend, make_cuda_backend
from trg_ros.backends.cuda_graphs import FixedBatches, is_out_of_memory
from trg_ros.backends.cuda_network import PackedNetwork
from trg_ros.backends.cuda_probe import disagreement, probe
from trg_ros.backends.torch_backend import TorchBackend, without_tf32
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint, CheckpointInfo, default_checkpoint_path, load_checkpoint
from trg_ros.crop import CropWindows, cut_windows
from trg_ros.errors import CheckpointError, DeviceError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.model.deploy import DeployedTRG
from trg_ros.pnp import with_pose_source

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
SIZES = (1, 2, 4)
DEVICES = [CPU, pytest.param(torch.device("cuda", 0), marks=needs_gpu)]


@pytest.fixture(scope="module")
def tiny():
    model = small_network(regressor_activation="relu")
    return Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())


@pytest.fixture(scope="module")
def packaged_checkpoint():
    try:
        return load_checkpoint(default_checkpoint_path())
    except CheckpointError as error:
        pytest.skip(str(error))


def crops_and_boxes(count, size=64):
    coarse, box = random_inputs(count, 8)
    crops = torch.nn.functional.interpolate(coarse * 60 + 110, (size, size), mode="bilinear").clamp(0, 255)
    return crops.permute(0, 2, 3, 1).to(torch.uint8).numpy(), box.numpy()


def exactly_alike(result, expected):
    for name in ("landmarks68_head", "rotation", "translation", "landmarks68_crop", "landmarks_head"):
        np.testing.assert_allclose(getattr(result, name), getattr(expected, name), atol=2e-5, err_msg=name)


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


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_what_is_right_is_used(tiny, device, caplog):
    with caplog.at_level(logging.WARNING):
        backend = make_cuda_backend(tiny, device, sizes=SIZES)
    assert backend.name == "cuda fp16 graphs" and not caplog.records
    assert backend.sizes == list(SIZES)


CAMERA = CameraModel.pinhole(500, 500, 160, 120, 320, 240, [-0.2, 0.05, 0.0, 0.0, 0.0])
IMAGE = np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def windows():
    return CropWindows.from_boxes(CAMERA, [[50, 40, 150, 140], [120, 60, 220, 160]])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_crops_of_the_cutter_are_answered_like_those_of_the_cpu(tiny, device):
    backend = CudaBackend(tiny, device, False, SIZES)
    crops = backend.cutter(IMAGE, CAMERA)(windows())
    assert isinstance(crops, torch.Tensor) and crops.device.type == device.type
    on_cpu = np.ascontiguousarray(cut_windows(IMAGE, CAMERA, windows(), 64)[..., ::-1])
    assert np.abs(crops.cpu().numpy().astype(int) - on_cpu).max() <= 1
    boxes = windows().normalised
    exactly_alike(backend.infer(crops, boxes), backend.infer(crops.cpu().numpy(), boxes))


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
    np.testing.assert_array_equal(crops, cut_windows(IMAGE, CAMERA, windows(), 64)[..., ::-1])


@pytest.mark.parametrize("where", ["__init__", "cut"])
@pytest.mark.fault("no GPU memory for crops (simulated)", "the CPU cuts them")
def test_without_memory_for_crops_the_cpu_cuts_them(tiny, where, monkeypatch, caplog):
    backend = CudaBackend(tiny, CPU, False, SIZES)

    def fails(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cuda_backend.DeviceFrame, where, fails)
    crops = backend.cutter(IMAGE, CAMERA)(windows())
    assert "no memory" in caplog.text
    np.testing.assert_array_equal(crops, cut_windows(IMAGE, CAMERA, windows(), 64)[..., ::-1])


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
