"""The face finder as a detector: files, images of any size, back ends, what it finds in a real photo."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from trg_ros.detection import Detections, LibFaceDetection, make_detector
from trg_ros.errors import CheckpointError, DetectorError, InputError
from trg_ros.finder.config import CHANNELS, HEAT, FinderConfig
from trg_ros.finder.decoding import overlaps
from trg_ros.finder.detector import TRGFinder
from trg_ros.finder.network import FinderNetwork
from trg_ros.finder.training.evaluate import compare, wrong_finds
from trg_ros.finder.training.packaging import with_threshold
from trg_ros.finder.weights import METADATA_KEY, PACKAGED, load_finder, save_finder

TINY = FinderConfig(widths=(4, 8, 8, 8, 8), depths=(0, 0, 1, 0, 0), neck=8)


@pytest.fixture
def tiny_file(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_finder(path, FinderNetwork(TINY).eval(), {"name": "tiny"})
    return path


def test_a_file_gives_the_network_back(tiny_file):
    """To half precision, with batch normalisation folded."""
    torch.manual_seed(0)
    trained = FinderNetwork(TINY).eval()
    weights = load_finder(tiny_file)
    network = weights.build_network()
    images = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    assert weights.card == {"name": "tiny"} and weights.config == TINY
    assert network(images).shape == (1, CHANNELS, 8, 12)
    torch.testing.assert_close(network(images), trained(images), atol=0.02, rtol=0.02)


def test_damaged_files_are_refused(tiny_file, tmp_path):
    content, bad = tiny_file.read_bytes(), tmp_path / "bad.safetensors"
    tensors, name = load_file(tiny_file), "stem.0.weight"
    with pytest.raises(CheckpointError, match="no such file"):
        load_finder(tmp_path / "none")
    for part in (b"", content[:100], content[:-5], b"\x80\x04" + content):
        bad.write_bytes(part)
        with pytest.raises(CheckpointError, match="damaged"):
            load_finder(bad)
    config = {"widths": list(TINY.widths), "depths": list(TINY.depths), "neck": TINY.neck}
    good = {"format_version": 1, "config": config, "card": {}}
    for change, message in (
        ({"format_version": 2}, "not finder weights"),
        ({"config": None}, "must have the fields"),
        ({"config": {**config, "neck": 10**9}}, "neck 1 to 1024"),
        ({"config": {**config, "widths": ["4"] * 5}}, "whole numbers"),
        ({"config": {**config, "neck": 16}}, "of another shape"),
    ):
        save_file(tensors, bad, {METADATA_KEY: json.dumps({**good, **change})})
        with pytest.raises(CheckpointError, match=message):
            load_finder(bad)
    save_file({**tensors, name: tensors[name] * np.inf}, bad, {METADATA_KEY: json.dumps(good)})
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        load_finder(bad)
    save_file(tensors, bad)
    with pytest.raises(CheckpointError, match="not finder weights"):
        load_finder(bad)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (17, 33), (240, 320), (500, 130)])
def test_any_image_size(tiny_file, backend, shape):
    if backend == "openvino":
        pytest.importorskip("openvino")
    finder = TRGFinder(tiny_file, backend=backend, min_score=0.0)
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = finder.detect(image)
    assert isinstance(found, Detections) and len(found) >= 1
    assert found.keypoints.shape == (len(found), 5, 2) and found.boxes.shape == (len(found), 4)
    boxes = finder.trg_boxes(found)
    sides = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-4)


def test_both_back_ends_agree(tiny_file):
    pytest.importorskip("openvino")
    image = np.random.default_rng(2).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    one, other = (
        TRGFinder(tiny_file, backend=b, min_score=0.01).detect(image) for b in ("torch", "openvino")
    )
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=0.05)


def test_unknown_back_end(tiny_file):
    with pytest.raises(InputError, match="'tpu' is unknown"):
        TRGFinder(tiny_file, backend="tpu")


def test_the_best_threshold_becomes_the_usual_score():
    """What scored 0.3 scores 0.6 afterwards; the order stays."""
    network = FinderNetwork(TINY).eval()
    images = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    before = network(images)[:, HEAT].detach().clone()
    shifted = with_threshold(network, 0.3)(images)[:, HEAT]
    torch.testing.assert_close(shifted - before, torch.full_like(before, np.log(1.5) - np.log(3 / 7)))
    with pytest.raises(InputError, match="threshold is 1"):
        with_threshold(network, 1)


class Fixed:
    """A detector that always finds the same boxes."""

    def __init__(self, boxes):
        self._boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, image_bgr):
        return Detections(self._boxes, np.ones(len(self._boxes), np.float32), None)

    def trg_boxes(self, detections):
        return detections.boxes


def test_what_counts_as_found_and_as_wrong():
    """Two faces of which one is found, one find beside them; the other detector finds both."""
    image, truth = np.zeros((100, 200, 3), np.uint8), np.array([[10.0, 10, 60, 60], [100, 10, 140, 50]])
    np.testing.assert_allclose(overlaps(truth, truth + [25, 0, 25, 0]), [[1 / 3, 0], [0, 15 / 65]])
    ours, theirs = Fixed([[12, 10, 62, 60], [150, 50, 190, 90]]), Fixed(truth)
    result = compare([(image, truth, np.array([True, True]))] * 2, ours, theirs)
    assert (result["images"], result["wrong_per_image"], result["recall_from_32_px"]) == (2, 1, 0.5)
    assert result["recall_by_side_px"] == {"32+": [0.0, 2], "48+": [1.0, 2]}
    other = result["libfacedetection"]
    assert other["recall_from_32_px"] == 1 and other["our_recall_of_its_faces_from_32_px"] == 0.5
    assert other["its_recall_of_our_faces_from_32_px"] == 1 and other["wrong_per_image"] == 0
    assert wrong_finds(ours, {"blank": image}) == {"blank": 2}


needs_weights = pytest.mark.skipif(not PACKAGED.is_file(), reason="no packaged finder weights")


@pytest.fixture(scope="module")
def finder():
    return TRGFinder()


@needs_weights
def test_the_file_is_small_and_so_is_the_work():
    weights = load_finder()
    network = weights.build_network()
    assert PACKAGED.stat().st_size < 2_000_000
    assert {"name", "license", "training_data", "measured"} <= weights.card.keys()
    multiplications = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, _, y: multiplications.append(m.weight.numel() * y.shape[2] * y.shape[3])
            )
    network(torch.zeros(1, 256, 320, 3, dtype=torch.uint8))
    assert 2 * sum(multiplications) < 0.15e9


@needs_weights
@pytest.mark.parametrize("max_side", [160, 320, 512])
def test_finds_the_astronaut(finder, astronaut_bgr, max_side):
    detector = TRGFinder(max_side=max_side)
    found = detector.detect(astronaut_bgr)
    box = detector.trg_boxes(found)[0]
    center, side = (box[:2] + box[2:]) / 2, box[2] - box[0]
    assert np.abs(center - [225, 130]).max() < 25 and 110 < side < 200
    eye_right, eye_left, nose, mouth_right, mouth_left = found.keypoints[0]
    assert eye_right[0] < nose[0] < eye_left[0] and mouth_right[0] < mouth_left[0]
    assert max(eye_right[1], eye_left[1]) < nose[1] < min(mouth_right[1], mouth_left[1])


@needs_weights
def test_finds_nothing_where_there_is_nothing(finder):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (240, 1, 3))
    for image in (np.zeros((240, 320, 3), np.uint8), np.full((480, 640, 3), 128, np.uint8), noise, ramp):
        found = finder.detect(image)
        assert len(found) == 0 and found.keypoints.shape == (0, 5, 2)
        assert finder.trg_boxes(found).shape == (0, 4)


@needs_weights
def test_auto_falls_back_to_it(monkeypatch):
    def absent(*args, **options):
        raise DetectorError("not here")

    assert isinstance(make_detector("trg", max_side=640), TRGFinder)
    monkeypatch.setattr(LibFaceDetection, "__init__", absent)
    detector = make_detector("auto", max_side=160, min_score=0.7)
    assert isinstance(detector, TRGFinder) and (detector.max_side, detector.min_score) == (160, 0.7)
    with pytest.raises(DetectorError, match="not here"):
        make_detector("libfacedetection")
