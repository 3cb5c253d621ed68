"""The face finder's scenes and their labels, and training that resumes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from trg_ros.crop import centered_box
from trg_ros.errors import InputError
from trg_ros.finder.config import FinderConfig
from trg_ros.finder.network import FinderNetwork
from trg_ros.finder.training.backdrops import read_photos
from trg_ros.finder.training.scenes import (
    LAST_FACE,
    SceneComposer,
    SceneSettings,
    five_points,
)
from trg_ros.finder.training.trainer import FinderTraining, SceneStream, train, varied
from trg_ros.synthetic.dataset import RenderedDataset, write_shard
from trg_ros.synthetic.landmark_set import default_landmark_set

TINY = FinderConfig(widths=(4, 8, 8, 8, 8), depths=(0, 0, 1, 0, 0), neck=8)


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
    box = centered_box(plane)
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
    monkeypatch.setattr("trg_ros.finder.training.trainer.FinderNetwork", lambda: FinderNetwork(TINY))
    monkeypatch.setattr("trg_ros.finder.training.trainer._SAVE_EVERY", 5)
    monkeypatch.setattr("trg_ros.finder.training.trainer.AGAIN_AFTER", 2)
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
