"""Starting: a robot whose network is compiled already never imports torch, which is most of a cold start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from small_network import small_network

import trg_ros
from trg_ros.backends import selection
from trg_ros.backends.openvino_backend import openvino_installed
from trg_ros.checkpoint import Checkpoint, CheckpointInfo, save_checkpoint
from trg_ros.estimator import HeadPoseEstimator

ESTIMATES = """
import sys
import numpy as np
from trg_ros.camera import CameraModel
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.tracking import HeadTracker

image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
camera = CameraModel.from_fov(60, 160, 120)
estimator = HeadPoseEstimator.load(sys.argv[1], device=sys.argv[2], detector=None, threads=1)
heads = estimator.estimate(image, camera, boxes=[[40, 20, 100, 80]])
print(estimator.backend_name, heads[0].landmarks_camera.shape, heads[0].covariance.shape)
HeadTracker(estimator).update(image, camera, 0.0, boxes=[[40, 20, 100, 80]])
slow = {"torch", "scipy", "numba"} & set(sys.modules)
assert not slow, f"imported: {slow}"
"""


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not openvino_installed(), reason="needs the package openvino")
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_compiled_network_needs_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    if device == "auto" and selection.gpu_driver_installed():
        pytest.skip("there may be a GPU, which only torch knows")
    model = small_network()
    weights = tmp_path / "small.safetensors"
    save_checkpoint(
        weights, Checkpoint(model.config, model.topology, CheckpointInfo(name="s"), model.state_dict())
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    HeadPoseEstimator.load(weights, device="cpu", backend="openvino", detector=None, threads=1)
    assert run_python(ESTIMATES, str(weights), device) == "openvino fp32 (80, 3) (6, 6)\n"


@pytest.mark.parametrize(
    "module", ["commands.run", "media.recording", "tracking.filtering", "ros.node", "demo.client"]
)
def test_modules_that_robots_start_with_need_no_torch(module: str) -> None:
    if module.startswith(("ros.", "demo.")):
        pytest.importorskip("rclpy")
    run_python(f"import sys, trg_ros.{module}; assert 'torch' not in sys.modules, 'torch was imported'")


def test_without_a_driver_nobody_looks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise AssertionError("torch was asked")

    monkeypatch.setattr(selection, "_gpus", fail)
    monkeypatch.setattr(selection, "gpu_driver_installed", lambda: False)
    assert selection.resolve_device("auto") == "cpu"
    monkeypatch.setattr(selection, "_gpus", lambda: 2)
    monkeypatch.setattr(selection, "gpu_driver_installed", lambda: True)
    assert selection.resolve_device("auto") == "cuda:0"
    assert selection.resolve_device("cuda:1") == "cuda:1"


def test_the_packages_names_are_there_when_they_are_used() -> None:
    run_python(
        "import sys, trg_ros\n"
        "assert not {'numpy', 'cv2', 'torch'} & set(sys.modules), 'importing trg_ros costs time'\n"
        "assert {'HeadPoseEstimator', '__version__'} <= set(dir(trg_ros))\n"
        "from trg_ros import *\n"
        "from trg_ros.estimator import HeadPoseEstimator as the_same\n"
        "assert trg_ros.HeadPoseEstimator is HeadPoseEstimator is the_same\n"
        "assert 'torch' not in sys.modules, 'a name needs torch'\n"
        "assert not hasattr(trg_ros, 'NoSuchName')\n"
    )


def test_type_checkers_see_what_is_there_at_run_time() -> None:
    """The imports that only type checkers read name the same as `__all__`, from the same modules."""
    tree = ast.parse(Path(trg_ros.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(seen) == trg_ros.__all__
    assert seen == {name: f"trg_ros.{module}" for name, module in trg_ros._MODULE_OF.items()}
