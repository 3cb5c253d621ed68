"""The finder where it is what users get: it starts without torch, and stands in for it where it has to."""

import subprocess
import sys

import numpy as np
import pytest

from trg_ros.backends.openvino_backend import openvino_installed
from trg_ros.errors import DeviceError
from trg_ros.finder import openvino_runner
from trg_ros.finder.config import FinderConfig
from trg_ros.finder.detector import TRGFinder
from trg_ros.finder.network import FinderNetwork
from trg_ros.finder.torch_runner import TorchRunner
from trg_ros.finder.weights import load_finder

FINDS = """
import sys
import numpy as np
from trg_ros.detection import make_detector

finder = make_detector("trg", max_side=160)
print(len(finder.detect(np.zeros((120, 160, 3), np.uint8))))
slow = {"torch", "scipy", "numba"} & set(sys.modules)
assert not slow, f"imported: {slow}"
"""

needs_openvino = pytest.mark.skipif(not openvino_installed(), reason="needs the package openvino")


@needs_openvino
def test_it_needs_no_torch_even_at_its_first_start(tmp_path, monkeypatch):
    """Nothing has to be converted: an empty cache stays empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", FINDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n" and not list(tmp_path.iterdir())


@needs_openvino
@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (3, 96, 160, 3)])
def test_openvino_says_what_torch_says(shape):
    weights = load_finder()
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ours, theirs = (
        runner(images) for runner in (openvino_runner.OpenVINORunner(weights, 1), TorchRunner(weights))
    )
    assert ours.shape == theirs.shape and np.ptp(theirs[:, 0]) > 1
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_shapes_are_those_of_the_network():
    """Also where neighbouring widths are equal and where there are no blocks between."""
    config = FinderConfig(widths=(4, 4, 8, 8, 12), depths=(0, 0, 1, 2, 0), neck=8)
    state = FinderNetwork(config).fused().state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == config.shapes()


def test_without_openvino_it_runs_in_torch(monkeypatch):
    def absent():
        raise DeviceError("no openvino here")

    monkeypatch.setattr(openvino_runner, "import_openvino", absent)
    monkeypatch.setattr("trg_ros.finder.detector.openvino_installed", lambda: True)
    assert len(TRGFinder().detect(np.zeros((64, 64, 3), np.uint8))) == 0
    with pytest.raises(DeviceError, match="no openvino here"):
        TRGFinder(backend="openvino")
