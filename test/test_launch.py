"""headpose.launch.py: what it starts; and, where it is installed, that `ros2 launch` runs and stops it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "headpose.launch.py"
PATIENCE_S = 15.0  # from Ctrl-C to the end it takes 0.5 s on an idle machine


class Recorded:
    """Stands for any class of launch and remembers what it was made with."""

    def __init__(self, *args, **kwargs):
        self.args = args
        self.kwargs = kwargs


@pytest.fixture
def launch_file(monkeypatch) -> ModuleType:
    """The launch file as a module, with classes of launch and launch_ros that only remember."""
    fakes = {
        "launch": ["LaunchContext", "LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument", "OpaqueFunction"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
    }
    for name, classes in fakes.items():
        fake = ModuleType(name)
        for class_name in classes:
            setattr(fake, class_name, type(class_name, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, fake)
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "MALLOC_TOP_PAD_"):
        monkeypatch.delenv(name, raising=False)
    spec = spec_from_file_location("headpose_launch", LAUNCH_FILE)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nodes(launch_file: ModuleType, **given: str) -> dict[str, dict]:
    """What is started with these arguments: executable -> what the Node was made with."""
    values = {name: default for name, (default, _) in launch_file.ARGUMENTS.items()} | given
    started = launch_file.start_nodes(SimpleNamespace(launch_configurations=values))
    return {node.kwargs["executable"]: node.kwargs for node in started}


def test_every_argument_is_declared_and_described(launch_file):
    *declarations, _ = launch_file.generate_launch_description().args[0]
    assert [declaration.args[0] for declaration in declarations] == list(launch_file.ARGUMENTS)
    assert all(declaration.kwargs["description"].endswith(".") for declaration in declarations)
    wanted = {"image", "camera_info", "namespace", "name", "device", "checkpoint", "params_file", "rviz"}
    assert wanted | {"use_sim_time", "large_images", "source"} <= set(launch_file.ARGUMENTS)


def test_only_the_node_by_default(launch_file):
    (node,) = nodes(launch_file).values()
    assert (node["package"], node["executable"], node["name"]) == ("trg_ros", "headpose_node", "headpose")
    assert ("image", "image") in node["remappings"]
    assert ("camera_info", "camera_info") in node["remappings"]
    params_file, overrides = node["parameters"]
    assert Path(params_file).is_file()
    assert overrides == {"use_sim_time": False}


def test_calibration_is_expected_beside_the_images(launch_file):
    node = nodes(launch_file, image="/front/image_raw")["headpose_node"]
    assert ("camera_info", "/front/camera_info") in node["remappings"]
    node = nodes(launch_file, image="/front/image_raw", camera_info="/other")["headpose_node"]
    assert ("camera_info", "/other") in node["remappings"]


def test_command_line_overrides_the_file_and_stays_text(launch_file):
    given = {"device": "cpu", "checkpoint": "1e3", "image_transport": "compressed", "use_sim_time": "true"}
    node = nodes(launch_file, **given)["headpose_node"]
    overrides = node["parameters"][1]
    assert overrides["device"].args == ("cpu",)
    assert overrides["checkpoint"].args == ("1e3",)
    assert overrides["image_transport"].args == ("compressed",)
    assert overrides["checkpoint"].kwargs == {"value_type": str}
    assert overrides["use_sim_time"] is True


def test_the_lifecycle_can_be_left_to_others_and_a_dead_node_started_again(launch_file):
    node = nodes(launch_file)["headpose_node"]
    assert "autostart" not in node["parameters"][1]
    assert node["respawn"] is False
    node = nodes(launch_file, autostart="false", respawn="true", tf_prefix="left_")["headpose_node"]
    assert node["parameters"][1]["autostart"] is False
    assert node["parameters"][1]["tf_prefix"].args == ("left_",)
    assert node["respawn"] is True


def test_source_becomes_a_camera_on_the_same_topics(launch_file):
    started = nodes(launch_file, source="0", image="/cam/image", namespace="robot", source_fov_deg="55")
    source = started["video_source"]
    assert source["namespace"] == started["headpose_node"]["namespace"] == "robot"
    assert source["remappings"] == [("image", "/cam/image"), ("camera_info", "/cam/camera_info")]
    assert source["parameters"][0]["source"].args == ("0",)
    assert source["parameters"][0]["fov_deg"] == 55.0


def test_source_gets_parameters_that_it_has(launch_file):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from trg_ros.ros.video_source import VideoSourceSettings

    parameters = nodes(launch_file, source="a.jpg")["video_source"]["parameters"][0]
    assert set(parameters) - {"use_sim_time"} <= set(VideoSourceSettings.__dataclass_fields__)


def test_rviz_follows_the_names(launch_file):
    assert "rviz2" not in nodes(launch_file)
    rviz = nodes(launch_file, rviz="true", name="driver", frame="cabin")["rviz2"]
    assert ("headpose/overlay", "driver/overlay") in rviz["remappings"]
    assert Path(rviz["arguments"][1]).is_file()
    assert rviz["arguments"][2:] == ["-f", "cabin"]


def test_profile_for_large_images_unless_the_user_has_one(launch_file, monkeypatch):
    environment = nodes(launch_file)["headpose_node"]["additional_env"]
    assert Path(environment[launch_file.PROFILE_VARIABLE]).is_file()
    assert environment["MALLOC_TOP_PAD_"] == "67108864"
    over_udp = nodes(launch_file, large_images="udp")["headpose_node"]["additional_env"]
    assert Path(over_udp[launch_file.PROFILE_VARIABLE]).name == "fastdds_udp.xml"
    assert Path(over_udp[launch_file.PROFILE_VARIABLE]).is_file()
    assert nodes(launch_file, large_images="false")["headpose_node"]["additional_env"] == {}
    monkeypatch.setenv(launch_file.PROFILE_VARIABLE, "mine.xml")
    assert launch_file.PROFILE_VARIABLE not in nodes(launch_file)["headpose_node"]["additional_env"]


@pytest.mark.parametrize("argument", ["rviz", "use_sim_time", "large_images", "autostart", "respawn"])
def test_neither_true_nor_false(launch_file, argument):
    with pytest.raises(ValueError, match="'maybe' is neither true nor false"):
        nodes(launch_file, **{argument: "maybe"})


needs_ros2_launch = pytest.mark.skipif(
    shutil.which("ros2") is None or find_spec("launch_ros") is None or find_spec("ros2launch") is None,
    reason="launch, launch_ros or ros2cli is not installed: a ROS distribution has them, PyPI has not",
)


@contextlib.contextmanager
def ros2_launch(tmp_path: Path, *arguments: str):
    """`ros2 launch trg_ros headpose.launch.py ...` in a process group of its own."""
    import ros_domain  # noqa: F401  a ROS domain for this test process

    environment = dict(os.environ, ROS_LOG_DIR=str(tmp_path), PYTHONUNBUFFERED="1")
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            ["ros2", "launch", "trg_ros", "headpose.launch.py", *arguments],
            env=environment, start_new_session=True, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_output(
    tmp_path: Path, text: str, process: subprocess.Popen, timeout_s: float = 90.0, times: int = 1
) -> str:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        output = (tmp_path / "output").read_text()
        if output.count(text) >= times:
            return output
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"no '{text}' in:\n{(tmp_path / 'output').read_text()}")


@needs_ros2_launch
def test_ros2_launch_starts_takes_arguments_and_stops(tmp_path):
    from ros_harness import save_stand_in

    checkpoint = save_stand_in(tmp_path / "stand_in.safetensors")
    arguments = ("namespace:=robot", "name:=driver", "image:=/cabin/image_raw", "device:=cpu")
    with ros2_launch(tmp_path, *arguments, f"checkpoint:={checkpoint}") as process:
        started = wait_for_output(tmp_path, "waiting for images", process)
        assert "[robot.driver]: checkpoint stand-in on cpu" in started
        assert "waiting for images on /cabin/image_raw, calibration on /cabin/camera_info" in started
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
        assert process.wait(PATIENCE_S) == 0
    output = (tmp_path / "output").read_text()
    assert "process has finished cleanly" in output
    assert "Traceback" not in output


@needs_ros2_launch
def test_ros2_launch_leaves_the_lifecycle_to_others(tmp_path, stand_in, robot):
    with ros2_launch(tmp_path, f"checkpoint:={stand_in}", "device:=cpu", "autostart:=false") as process:
        assert robot.change_state("headpose", "configure")
        assert robot.change_state("headpose", "activate")
        wait_for_output(tmp_path, "waiting for images", process)
        output = (tmp_path / "output").read_text()
    assert output.count("checkpoint stand-in on cpu") == 1, "nobody else configured it"


@pytest.mark.fault("kill -9 under `ros2 launch ... respawn:=true`", "the node is started again")
@needs_ros2_launch
def test_ros2_launch_starts_a_dead_node_again(tmp_path, stand_in):
    with ros2_launch(tmp_path, f"checkpoint:={stand_in}", "device:=cpu", "respawn:=true") as process:
        output = wait_for_output(tmp_path, "waiting for images", process)
        os.kill(int(output.split("process started with pid [")[1].split("]")[0]), signal.SIGKILL)
        wait_for_output(tmp_path, "process has died", process)
        wait_for_output(tmp_path, "waiting for images", process, times=2)


@needs_ros2_launch
def test_ros2_launch_shows_its_arguments():
    result = subprocess.run(
        ["ros2", "launch", "trg_ros", "headpose.launch.py", "--show-args"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "'source_fov_deg':" in result.stdout
    assert "Topic of the images." in result.stdout
