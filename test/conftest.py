"""What several tests need. Fixtures for ROS import it themselves: it may be absent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from ros_harness import NodeProcess, Robot
    from ros_rig import Rig

    from trg_ros.checkpoint import CheckpointInfo

pytest_plugins = ["fault_table"]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests fill a cache of their own, also those that start processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material (parity goldens, sketches); tests skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("TRG_SHARED", default))
    if not path.is_dir():
        pytest.skip(f"no reference material at {path}: set TRG_SHARED")
    return path


@pytest.fixture(scope="session")
def face_model(shared_dir: Path) -> Path:
    """The packed ICT-FaceKit model; tests skip where it is absent."""
    path = shared_dir / "ict_facekit" / "ict_face_model.npz"
    if not path.is_file():
        pytest.skip(f"no packed ICT-FaceKit model at {path}")
    return path


@pytest.fixture(scope="session")
def astronaut_bgr() -> np.ndarray:
    """NASA's portrait of Eileen Collins, public domain, (512, 512, 3) uint8 BGR; one face, about frontal."""
    data = pytest.importorskip("skimage.data", reason="the real photo comes from scikit-image")
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with good and bad files, and an empty folder `results` to write into."""
    from cli_files import fill

    monkeypatch.chdir(fill(tmp_path))
    return tmp_path


@pytest.fixture
def with_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """`trg-headpose run` finds the same head in every frame, without a network."""
    from fake_finders import FakeFinder

    from trg_ros.commands import run

    monkeypatch.setattr(run, "HeadFinder", FakeFinder)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny network that takes everything for the same face."""
    from ros_harness import save_stand_in

    return save_stand_in(tmp_path_factory.mktemp("weights") / "stand_in.safetensors")


@pytest.fixture(scope="session")
def packaged() -> CheckpointInfo:
    """What the packaged weights say about themselves."""
    from trg_ros.checkpoint import default_checkpoint_path, load_checkpoint
    from trg_ros.errors import CheckpointError

    try:
        return load_checkpoint(default_checkpoint_path()).info
    except CheckpointError as error:
        pytest.skip(f"needs the packaged weights: {error}")


@pytest.fixture(scope="session")
def with_detector() -> None:
    """For tests that need a face detector which finds the very faces that they show."""
    from trg_ros.detection import make_detector
    from trg_ros.errors import DetectorError

    try:
        make_detector("libfacedetection")
    except DetectorError as error:
        pytest.skip(f"needs a face detector: {error}")


@pytest.fixture(scope="module")
def shared_rig(stand_in: Path) -> Iterator[Rig]:
    """The node of most tests of a module; they use `rig`."""
    from ros_rig import Rig

    with Rig(stand_in) as rig:
        yield rig


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    """The module's node; at the beginning of each test it is idle, parameters and robot are as new."""
    from ros_harness import BOXES, CAMERA, FRAME

    from trg_ros.ros.parameters import Settings

    robot = shared_rig.robot
    robot.heard.clear()
    robot.camera, robot.boxes, robot.frame_id, robot.step_ns = CAMERA, BOXES, FRAME, 33_000_000
    robot.stamp_ns += 10_000_000_000
    yield shared_rig
    for topic in list(robot._subscriptions_of):
        robot.ignore(topic)
    assert shared_rig.idle()
    fields = Settings.__dataclass_fields__.values()
    assert shared_rig.set(**{field.name: field.default for field in fields if field.metadata["live"]}) == []


@pytest.fixture
def robot() -> Iterator[Robot]:
    """A robot in a context of its own, for nodes in other processes."""
    import rclpy
    from ros_harness import Robot

    context = rclpy.Context()
    rclpy.init(context=context)
    node = Robot(context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.fixture
def start() -> Iterator[Callable[..., NodeProcess]]:
    """Starts nodes in processes that are gone after the test: `start(module, **parameters)`."""
    from ros_harness import NodeProcess

    processes: list[NodeProcess] = []

    def started(module: str, **parameters: Any) -> NodeProcess:
        processes.append(NodeProcess(module, **parameters))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
