"""Every back end says what eager torch says; the cache of networks survives what happens to caches."""

import logging
import os
import shutil
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import torch
from small_network import random_inputs, small_network

from trg_ros import backends
from trg_ros.backends import make_backend, model_cache, openvino_backend, selection
from trg_ros.backends.model_cache import ModelCache, default_cache_directory
from trg_ros.backends.openvino_backend import OpenVINOBackend, openvino_installed
from trg_ros.backends.protocol import joined
from trg_ros.backends.torch_backend import TorchBackend
from trg_ros.checkpoint import Checkpoint, CheckpointInfo, default_checkpoint_path, load_checkpoint
from trg_ros.errors import CheckpointError, DeviceError
from trg_ros.estimator import HeadPoseEstimator

needs_openvino = pytest.mark.skipif(not openvino_installed(), reason="needs the package openvino")

# What is allowed in half precision, in metres and radians; in single precision a thousandth of it.
HALF_PRECISION = {"landmarks_head": 3e-4, "rotation": np.deg2rad(0.2), "translation": 1e-3}


def checkpoint_of(model):
    return Checkpoint(model.config, model.topology, CheckpointInfo(name="tiny"), model.state_dict())


def crops_and_boxes(count, size=64):
    """Smooth pictures in bytes, boxes: what a camera could have seen."""
    coarse, box = random_inputs(count, 8)
    crops = torch.nn.functional.interpolate(coarse * 60 + 110, (size, size), mode="bilinear").clamp(0, 255)
    return crops.permute(0, 2, 3, 1).to(torch.uint8).numpy(), box.numpy()


def arrays_of(result):
    return {name: value for name, value in vars(result).items() if isinstance(value, np.ndarray)}


def has_bf16():
    if not openvino_installed():
        return False
    from trg_ros.backends.openvino_backend import import_openvino

    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def tiny():
    return checkpoint_of(small_network(regressor_activation="relu"))


def assert_agree(result, reference, part_of_bound):
    for name, bound in HALF_PRECISION.items():
        difference = np.abs(getattr(result, name) - getattr(reference, name)).max()
        assert difference <= bound * part_of_bound, f"{name} differs by {difference}"


@needs_openvino
@pytest.mark.parametrize("variant", [{}, {"sampling": "grid", "stem": "resnet"}, {"iterations": 2}], ids=str)
def test_openvino_agrees_for_every_number_of_faces(variant):
    checkpoint = checkpoint_of(small_network(**variant))
    backend = OpenVINOBackend(checkpoint, threads=1)
    reference = TorchBackend(checkpoint, torch.device("cpu"))
    crops, boxes = crops_and_boxes(10)
    everything = reference.infer(crops, boxes)
    spread = np.abs(everything.landmarks_head - everything.landmarks_head[:1]).max()
    assert spread > 1e-3, "faces that all look the same would make this test empty"
    for count in (3, 1, 10, 2, 4, 5, 6, 7, 8, 9, 1):
        result = backend.infer(crops[:count], boxes[:count])
        assert_agree(result, reference.infer(crops[:count], boxes[:count]), 1e-3)
        np.testing.assert_allclose(result.landmarks68_crop, everything.landmarks68_crop[:count], atol=1e-5)
        assert all(array.dtype == np.float32 for array in arrays_of(result).values())


@needs_openvino
@pytest.mark.parametrize("faces", [2, 3, 4, 5, 10])
def test_networks_of_every_size_agree(tiny, faces):
    """What several networks for fewer faces say until the right one is compiled, it says then."""
    backend = OpenVINOBackend(tiny, threads=1)
    crops, boxes = crops_and_boxes(faces)
    alone = joined([backend.infer(crops[i : i + 1], boxes[i : i + 1]) for i in range(faces)])
    backend.prepare(faces)
    together = backend.infer(crops, boxes)
    assert_agree(together, alone, 1e-3)
    np.testing.assert_allclose(together.landmarks68_crop, alone.landmarks68_crop, atol=1e-5)


@needs_openvino
@pytest.mark.parametrize("variant", [{"regressor_activation": "relu"}, {}], ids=str)
def test_all_landmarks_only_when_somebody_asks(variant):
    """The 68 come with the pose; all of them agree with them, for any choice of heads."""
    checkpoint = checkpoint_of(small_network(**variant))
    backend = OpenVINOBackend(checkpoint, threads=1)
    crops, boxes = crops_and_boxes(3)
    result = backend.infer(crops, boxes)
    assert backend._landmarks is None
    reference = TorchBackend(checkpoint, torch.device("cpu")).infer(crops, boxes)
    np.testing.assert_allclose(result.landmarks68_head, reference.landmarks68_head, atol=1e-6)
    chosen = result.landmarks_head[:, checkpoint.topology.landmarks68]
    np.testing.assert_allclose(chosen, result.landmarks68_head, atol=1e-6)
    np.testing.assert_allclose(result.landmarks_of(2), reference.landmarks_head[2], atol=1e-6)
    swapped = result.with_rows(np.array([0]), result[np.array([1])])
    np.testing.assert_allclose(swapped.landmarks_of(0), reference.landmarks_head[1], atol=1e-6)


@pytest.mark.parametrize(
    ("faces", "sizes"), [(1, [1]), (2, [2]), (3, [4]), (5, [4, 1]), (6, [8]), (10, [8, 2]), (32, [8] * 4)]
)
def test_faces_are_looked_at_in_few_networks(faces, sizes):
    found = []
    while faces > 0:
        found.append(openvino_backend._size_for(faces))
        faces -= found[-1]
    assert found == sizes


@needs_openvino
def test_more_faces_do_not_wait_for_the_compiler(tiny, monkeypatch):
    """A second face that appears must not stop the stream."""
    backend = OpenVINOBackend(tiny, threads=1)
    go_on = threading.Event()
    compile_now = backend._compile

    def compile_later(size):
        assert go_on.wait(60)
        return compile_now(size)

    monkeypatch.setattr(backend, "_compile", compile_later)
    crops, boxes = crops_and_boxes(2)
    before = backend.infer(crops, boxes)
    go_on.set()
    backend.prepare(2)
    assert_agree(backend.infer(crops, boxes), before, 1e-3)


@needs_openvino
def test_results_belong_to_the_caller(tiny):
    """The next inference must not write into the arrays of the last one."""
    backend = OpenVINOBackend(tiny, threads=1)
    crops, boxes = crops_and_boxes(2)
    first = backend.infer(crops[:1], boxes[:1])
    kept = {name: array.copy() for name, array in arrays_of(first).items()}
    backend.infer(crops[1:], boxes[1:])
    for name, array in kept.items():
        np.testing.assert_array_equal(array, getattr(first, name))


@needs_openvino
def test_two_threads_at_once(tiny):
    backend = OpenVINOBackend(tiny, threads=1)
    crops, boxes = crops_and_boxes(2)
    expected = [backend.infer(crops[i : i + 1], boxes[i : i + 1]).translation for i in range(2)]
    wrong = []

    def work(index):
        for _ in range(50):
            found = backend.infer(crops[index : index + 1], boxes[index : index + 1]).translation
            if not np.array_equal(found, expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16 instructions, or openvino is missing")
def test_bf16_of_the_packaged_weights(astronaut_bgr):
    """Only trained weights say what rounding costs."""
    try:
        checkpoint = load_checkpoint(default_checkpoint_path())
    except CheckpointError as error:
        pytest.skip(str(error))
    size = checkpoint.config.input_size
    generator = np.random.default_rng(0)
    lefts, tops, sides = generator.uniform([[130], [10], [140]], [[160], [40], [200]], (3, 12))
    windows = np.stack([lefts, tops, sides], axis=1).astype(int)
    crops = np.stack(
        [cv2.resize(astronaut_bgr[y : y + s, x : x + s, ::-1], (size, size)) for x, y, s in windows]
    )
    boxes = np.array([[(x + s / 2 - 256) / 600, (y + s / 2 - 256) / 600, s / 600] for x, y, s in windows])
    half = OpenVINOBackend(checkpoint, "bf16", 1)
    assert half.name == "openvino bf16"
    result = half.infer(crops, boxes.astype(np.float32))
    reference = TorchBackend(checkpoint, torch.device("cpu")).infer(crops, boxes.astype(np.float32))
    for name, bound in HALF_PRECISION.items():
        difference = np.abs(getattr(result, name) - getattr(reference, name)).reshape(len(windows), -1).max(1)
        assert 0 < np.median(difference) <= bound, f"{name} of most heads; the worst are off by more"


@needs_openvino
def test_auto_takes_openvino_on_the_cpu_and_says_so(tiny):
    estimator = HeadPoseEstimator.load(tiny, device="cpu", detector=None, threads=1)
    assert estimator.backend_name == "openvino fp32" and estimator.device == "cpu"


def test_without_openvino(tiny, monkeypatch):
    monkeypatch.setattr(selection, "openvino_installed", lambda: False)
    assert make_backend(tiny, "cpu").name == "torch fp32"
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match="pip install openvino"):
        make_backend(tiny, "cpu", "openvino")


def test_an_openvino_that_does_not_load_is_done_without(tiny, monkeypatch, caplog):
    monkeypatch.setattr(selection, "openvino_installed", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING, logger=backends.__name__):
        assert make_backend(tiny, "cpu").name == "torch fp32"
    assert "running in torch" in caplog.text


@needs_openvino
def test_openvino_sends_nothing_home(tmp_path):
    """Its telemetry leaves a folder in the home directory before anything else."""
    code = (
        "import sys; from trg_ros.backends.openvino_backend import import_openvino; import_openvino();"
        "assert not sys.modules.get('openvino_telemetry')"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=100)
    assert not list(tmp_path.iterdir())


class Things:
    """A kind of value to cache: numbers, in a file, that are expensive to make."""

    def __init__(self):
        self.built = 0

    def get(self, directory, key="key"):
        return ModelCache(directory).load_or_build(key, self._load, self._build, self._save)

    def _build(self):
        self.built += 1
        return "42"

    def _load(self, folder):
        return str(int((folder / "number").read_text()))

    def _save(self, value, folder):
        (folder / "number").write_text(value)


def test_cache_is_used_and_leaves_nothing_else(tmp_path):
    things = Things()
    assert [things.get(tmp_path / "new" / "folder") for _ in range(3)] == ["42"] * 3
    assert things.built == 1
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["key"]


def _truncate(entry):
    (entry / "number").write_text("4")


def _empty(entry):
    shutil.rmtree(entry)
    entry.mkdir()


def _garbage(entry):
    (entry / "manifest.json").write_text("{")


def _unlink(entry):
    (entry / "number").unlink()


@pytest.mark.parametrize("damage", [_truncate, _empty, _garbage, _unlink])
def test_broken_cache_is_rebuilt(tmp_path, damage, caplog):
    things = Things()
    things.get(tmp_path)
    damage(tmp_path / "key")
    assert things.get(tmp_path) == "42" and things.built == 2
    assert "building it again" in caplog.text
    assert things.get(tmp_path) == "42" and things.built == 2


def test_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way of the folder")
    things = Things()
    assert things.get(tmp_path / "file") == "42"


def test_cache_keeps_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(model_cache, "_MAX_ENTRIES", 2)
    things = Things()
    for age, key in enumerate(["a", "b", "c"]):
        things.get(tmp_path, key)
        os.utime(tmp_path / key, (1e9 + age, 1e9 + age))
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c"}


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_cache_directory_follows_the_standard(monkeypatch, tmp_path, value):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_directory() == tmp_path / "trg_ros"
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(default_cache_directory()) == "/home/somebody/.cache/trg_ros"


def test_a_user_without_a_home_does_without_the_cache(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(model_cache.Path, "home", no_home)
    things = Things()
    assert [things.get(None) for _ in range(2)] == ["42"] * 2
    assert things.built == 2


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    for name, age_s in ((".key.old", 7200.0), (".key.new", 0.0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    Things().get(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".key.new", "key"}


@needs_openvino
def test_converted_networks_are_cached_by_content(tmp_path, monkeypatch):
    cache = ModelCache(tmp_path)
    model = small_network()
    crops, boxes = crops_and_boxes(2)
    expected = OpenVINOBackend(checkpoint_of(model), threads=1, cache=cache).infer(crops, boxes)
    with monkeypatch.context() as patch:
        patch.setattr("trg_ros.backends.openvino_backend._build", None)  # the cache must do
        cached = OpenVINOBackend(checkpoint_of(model), threads=1, cache=cache).infer(crops, boxes)
    np.testing.assert_allclose(cached.landmarks_head, expected.landmarks_head, atol=1e-6)
    with torch.no_grad():
        model.regressors[-1].pose_head.bias += 0.1
    changed = OpenVINOBackend(checkpoint_of(model), threads=1, cache=cache).infer(crops, boxes)
    assert np.abs(changed.translation - expected.translation).max() > 1e-3
    assert len(list(tmp_path.iterdir())) == 2
