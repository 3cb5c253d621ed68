"""The face finder: decoding, scenes and their labels, targets, training that resumes, files, real photos."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from trg_ros.detection import Detections, LibFaceDetection, make_detector
from trg_ros.errors import CheckpointError, DetectorError, InputError
from trg_ros.finder.decoding import decode
from trg_ros.finder.detector import TRGFinder
from trg_ros.finder.evaluate import compare, overlaps, wrong_finds
from trg_ros.finder.network import CHANNELS, HEAT, LOG_SIDE, STRIDE, FinderConfig, FinderNetwork
from trg_ros.finder.packaging import with_threshold
from trg_ros.finder.scenes import (
    LAST_FACE,
    FinderScene,
    SceneComposer,
    SceneSettings,
    box_of,
    five_points,
    read_photos,
)
from trg_ros.finder.targets import cell_centers, finder_loss, make_targets
from trg_ros.finder.training import FinderTraining, SceneStream, train, varied
from trg_ros.finder.weights import METADATA_KEY, PACKAGED, load_finder, save_finder
from trg_ros.synthetic.dataset import RenderedDataset, write_shard
from trg_ros.synthetic.landmark_set import default_landmark_set

TINY = FinderConfig(widths=(4, 8, 8, 8, 8), depths=(0, 0, 1, 0, 0), neck=8)


def scene_with(boxes, wanted=None, size=(96, 128)):
    """A scene without a picture; the five points lie on a diagonal through each box."""
    boxes = np.array(boxes, np.float32).reshape(-1, 3)
    points = boxes[:, None, :2] + boxes[:, 2:, None] * np.linspace(-0.3, 0.3, 5)[None, :, None]
    wanted = np.ones(len(boxes), bool) if wanted is None else np.array(wanted)
    return FinderScene(np.zeros((*size, 3), np.uint8), boxes, points.astype(np.float32), wanted)


def answer(targets):
    """The map of a network that answers just as it should: (14, H, W)."""
    output = targets.values[0].numpy().copy()
    heat = np.clip(targets.heat[0].numpy(), 1e-4, 0.999)
    output[HEAT] = np.log(heat / (1 - heat))
    return output


def test_decoding_undoes_the_targets():
    """What training asks for decodes to the boxes and points that it was made of, to rounding."""
    scene = scene_with([[40.3, 50.9, 41.0], [101.0, 22.2, 16.0]])
    found = decode(answer(make_targets([scene])), min_score=0.6)
    assert len(found.scores) == 2
    for box, points in zip(scene.boxes, scene.points, strict=True):
        k = int(np.abs((found.boxes[:, 0] + found.boxes[:, 2]) / 2 - box[0]).argmin())
        expected = [*(box[:2] - box[2] / 2), *(box[:2] + box[2] / 2)]
        np.testing.assert_allclose(found.boxes[k], expected, atol=1e-3)
        np.testing.assert_allclose(found.points[k], points, atol=1e-3)
    assert (np.diff(found.scores) <= 0).all()
    assert found.boxes.dtype == found.points.dtype == found.scores.dtype == np.float32


def test_decoding_one_cell_in_closed_form():
    output = np.zeros((CHANNELS, 6, 8), np.float32)
    output[HEAT] = -9
    output[:, 2, 5] = [np.log(4), 0.25, -0.5, np.log(40 / STRIDE), *([0.1, 0.2] * 5)]
    found = decode(output, min_score=0.6)
    x, y = 5 * 8 + 3.5, 2 * 8 + 3.5
    np.testing.assert_allclose(found.scores, [0.8], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[x + 10 - 20, y - 20 - 20, x + 10 + 20, y - 20 + 20]], rtol=1e-6)
    np.testing.assert_allclose(found.points[0], [[x + 4, y + 8]] * 5, rtol=1e-6)
    assert len(decode(output, min_score=0.81).scores) == 0


def test_one_face_that_is_seen_twice_is_one():
    """Two maxima that mean the same box count once, two that mean neighbours count twice."""
    output = np.zeros((CHANNELS, 8, 16), np.float32)
    output[HEAT] = -9
    for column, logit, center in ((3, 3.0, 0.5), (6, 2.0, -0.25), (13, 1.0, 0.0)):
        output[HEAT, 4, column] = logit
        output[1, 4, column] = center
        output[LOG_SIDE, 4, column] = np.log(4)
    found = decode(output, min_score=0.6)
    np.testing.assert_allclose(found.boxes[:, [0, 2]].mean(axis=1), [27.5 + 16, 107.5])


def test_every_score_threshold_is_allowed():
    output = np.full((CHANNELS, 4, 4), -2.0, np.float32)
    assert len(decode(output, min_score=0.0).scores) >= 1
    assert len(decode(output, min_score=1.0).scores) == 0


def test_targets():
    """One centre per wanted face, weights that sum to 1, no blame around the others."""
    targets = make_targets([scene_with([[40, 40, 30], [90, 60, 24]], wanted=[True, False])])
    assert int((targets.heat == 1).sum()) == 1
    assert float(targets.weight.sum()) == pytest.approx(1)
    row, column = np.unravel_index(int(targets.heat[0].argmax()), (12, 16))
    assert np.abs(cell_centers(12, 16)[row, column] - 40).max() <= 4
    assert targets.cared[0, 7, 11] == 0 and targets.cared[0, row, column] == 1


def test_loss_is_smallest_for_the_right_answer():
    targets = make_targets([scene_with([[40.3, 50.9, 41.0]])])
    right = torch.from_numpy(answer(targets))[None]
    best, parts = finder_loss(right, targets)
    assert parts["center"] < 1e-6 and parts["side"] < 1e-6 and parts["points"] < 1e-6
    for channel, change in ((HEAT, -12), (HEAT, 6), (LOG_SIDE, 0.5), (1, 0.5), (9, -0.5)):
        wrong = right.clone()
        wrong[0, channel] += change
        assert finder_loss(wrong, targets)[0] > best
    nothing = make_targets([scene_with([])])
    assert torch.isfinite(finder_loss(torch.zeros(1, CHANNELS, 12, 16), nothing)[0])


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Twelve flat "heads": a gray disc with coloured squares where the five points are; labels as rendered
    ones have them."""
    root, rng = tmp_path_factory.mktemp("heads"), np.random.default_rng(3)
    chosen, count, size, margin = default_landmark_set(), 12, 96, 1.7
    landmarks = rng.normal(0, 0.03, (count, len(chosen.vertices), 3)).astype(np.float32)
    translation = np.tile(np.array([0.05, -0.02, 0.8], np.float32), (count, 1))
    rotation = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))
    camera = landmarks[:, chosen.landmarks68] + translation[:, None]
    plane = camera[..., :2] / camera[..., 2:]
    box = np.stack([box_of(points) for points in plane])
    images = np.zeros((count, size, size, 4), np.uint8)
    for image, points, (x, y, side) in zip(images, plane, box, strict=True):
        cv2.circle(image, (size // 2, size // 2), size // 3, (90, 90, 90, 255), -1)
        pixels = (five_points(points) - [x, y]) * size / (margin * side) + size / 2 - 0.5
        for k, (px, py) in enumerate(pixels):
            color = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)][k]
            cv2.circle(image, (round(px), round(py)), 3, (*color, 255), -1)
    labels = {"rotation": rotation, "translation": translation, "landmarks_head": landmarks, "box": box}
    write_shard(root, 0, images, labels, margin=margin)
    return RenderedDataset(root)


@pytest.fixture(scope="module")
def composer(heads):
    settings = SceneSettings(160, 128, sides=(40.0, 90.0), empty=0.0, crowded=0.0, photometric=0.0)
    return SceneComposer([(heads, 1.0)], [], settings, textures=20)


def test_scenes_are_what_their_seed_says(composer):
    one, other = composer.scene(4, 2), composer.scene(4, 2)
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    assert not np.array_equal(one.image, composer.scene(4, 3).image)


def test_labels_lie_where_the_points_were_painted(composer):
    """The nose is blue in the pictures: it is so at its label, mirrored and turned as the head may be."""
    blue = []
    for number in range(30):
        scene = composer.scene(7, number)
        for box, points in zip(scene.boxes[scene.wanted], scene.points[scene.wanted], strict=True):
            assert SceneSettings().sides[0] < box[2] < 160 * 1.5
            x, y = points[2].round().astype(int)
            if 0 <= x < 160 and 0 <= y < 128:
                red, green, value = scene.image[y, x].astype(int)
                blue.append(value > red + 20 and value > green + 20)
    assert len(blue) > 20 and np.mean(blue) > 0.7  # the rest is behind other points or things


def test_changed_scenes_keep_their_labels(composer):
    rng = np.random.default_rng(0)
    for number in range(5):
        scene = composer.scene(7, number)
        changed = varied(scene, rng)
        assert changed.image.shape == scene.image.shape
        scale = changed.boxes[:, 2] / scene.boxes[:, 2]
        spread = np.linalg.norm(changed.points[:, 2] - changed.points[:, 0], axis=1)
        # Mirroring swaps left and right: the nose's distance to the right eye becomes that to the left one.
        before = [np.linalg.norm(scene.points[:, 2] - scene.points[:, k], axis=1) * scale for k in (0, 1)]
        assert np.minimum(*(np.abs(spread - b) for b in before)).max(initial=0) < 1e-2
        assert not (changed.wanted & ~scene.wanted).any()


def test_faces_that_look_away_are_not_asked_for(heads, monkeypatch):
    settings = SceneSettings(160, 128, sides=(40.0, 90.0), empty=0.0, crowded=0.0)
    composer = SceneComposer([(heads, 1.0)], [], settings, textures=5)
    original = composer._head
    monkeypatch.setattr(composer, "_head", lambda rng: replace(original(rng), angle=LAST_FACE + 0.05))
    assert not any(composer.scene(1, k).wanted.any() for k in range(4))
    monkeypatch.setattr(composer, "_head", lambda rng: replace(original(rng), angle=3.0))
    assert all(len(composer.scene(1, k).boxes) == 0 for k in range(4))


def test_empty_scenes(heads):
    composer = SceneComposer([(heads, 1.0)], [], SceneSettings(64, 64, empty=1.0), textures=5)
    assert composer.scene(1, 1).boxes.shape == (0, 3) and composer.scene(1, 1).points.shape == (0, 5, 2)


def test_no_photos(tmp_path):
    with pytest.raises(InputError, match="no readable picture"):
        read_photos(tmp_path)


def test_a_killed_training_goes_on(composer, tmp_path, monkeypatch):
    """Ten steps in one go, or killed after five: the same weights."""
    monkeypatch.setattr("trg_ros.finder.training.FinderNetwork", lambda: FinderNetwork(TINY))
    monkeypatch.setattr("trg_ros.finder.training._SAVE_EVERY", 5)
    monkeypatch.setattr("trg_ros.finder.training.AGAIN_AFTER", 2)
    config = FinderTraining(steps=10, batch=4)
    whole = train(composer, config, tmp_path / "whole")
    batch, calls = SceneStream.batch, []

    def killed(stream, step):
        calls.append(step)
        if step == 7 and len(calls) < 9:
            raise KeyboardInterrupt
        return batch(stream, step)

    monkeypatch.setattr(SceneStream, "batch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(composer, config, tmp_path / "parts")
    resumed = train(composer, config, tmp_path / "parts")
    assert calls[8] == 5
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


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
    network, card = load_finder(tiny_file)
    images = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    assert card == {"name": "tiny"}
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
        ({"config": None}, "fit its configuration"),
        ({"config": {**config, "neck": 10**9}}, "fit its configuration"),
        ({"config": {**config, "widths": ["4"] * 5}}, "fit its configuration"),
        ({"config": {**config, "neck": 16}}, "fit its configuration"),
    ):
        save_file(tensors, bad, {METADATA_KEY: json.dumps({**good, **change})})
        with pytest.raises(CheckpointError, match=message):
            load_finder(bad)
    save_file({**tensors, name: tensors[name] * np.inf}, bad, {METADATA_KEY: json.dumps(good)})
    with pytest.raises(CheckpointError, match="not finite"):
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
    network, card = load_finder()
    assert PACKAGED.stat().st_size < 2_000_000
    assert {"name", "license", "training_data", "measured"} <= card.keys()
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
