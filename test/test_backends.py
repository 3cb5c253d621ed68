"""Every back end says what eager torch says, however many faces and threads there are."""

import threading

import cv2
import numpy as np
import pytest
import torch
from backend_cases import (
    HALF_PRECISION,
    arrays_of,
    assert_agree,
    checkpoint_of,
    crops_and_boxes,
    needs_openvino,
)
from small_network import small_network

from trg_ros.backends import openvino_backend
from trg_ros.backends.openvino_backend import OpenVINOBackend, openvino_installed
from trg_ros.backends.protocol import joined
from trg_ros.backends.torch_backend import TorchBackend
from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint
from trg_ros.errors import CheckpointError


def has_bf16():
    if not openvino_installed():
        return False
    from trg_ros.backends.openvino_backend import import_openvino

    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


needs_bf16 = pytest.mark.skipif(
    not has_bf16(), reason="this CPU has no bf16 instructions, or openvino is missing"
)


@pytest.fixture(scope="module")
def tiny():
    return checkpoint_of(small_network(regressor_activation="relu"))


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


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_bf16)])
def test_two_iterations_on_one_map(precision):
    """Between two networks, a map goes over once."""
    checkpoint = checkpoint_of(small_network(deconv_widths=(12, 8), lateral_connections=True))
    crops, boxes = crops_and_boxes(3)
    found = OpenVINOBackend(checkpoint, precision, threads=1).infer(crops, boxes)
    expected = TorchBackend(checkpoint, torch.device("cpu")).infer(crops, boxes)
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-4 if precision == "fp32" else 0.1)


@needs_bf16
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
