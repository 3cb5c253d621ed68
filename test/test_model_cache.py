"""The cache of networks survives what happens to caches."""

import os
import shutil
import time

import numpy as np
import pytest
import torch
from backend_cases import checkpoint_of, crops_and_boxes, needs_openvino
from small_network import small_network

from trg_ros.backends import model_cache
from trg_ros.backends.model_cache import ModelCache, default_cache_directory
from trg_ros.backends.openvino_backend import OpenVINOBackend


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


def test_cache_in_a_folder_of_somebody_else_is_done_without(tmp_path, monkeypatch):
    """HOME is often another user's under sudo; a test that runs as root could look into any folder."""

    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "file").write_text("in the way of the folder")
    monkeypatch.setattr(model_cache.Path, "is_dir", closed)
    assert Things().get(tmp_path / "file") == "42"


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
