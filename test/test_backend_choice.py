"""Which back end runs, and what happens where one is missing."""

import logging
import os
import subprocess
import sys

import pytest
from backend_cases import checkpoint_of, needs_openvino
from small_network import small_network

from trg_ros import backends
from trg_ros.backends import make_backend, selection
from trg_ros.errors import DeviceError
from trg_ros.estimator import HeadPoseEstimator


@pytest.fixture(scope="module")
def tiny():
    return checkpoint_of(small_network(regressor_activation="relu"))


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
