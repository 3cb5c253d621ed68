"""The package as others see it: package.xml, the messages, the executables, the configuration files."""

import ast
import os
import re
import sys
import uuid
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import trg_ros

ROOT = Path(__file__).resolve().parents[1]
TF_MESSAGE_HASH = "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"

# Python modules whose package has another name.
PACKAGE_OF_MODULE = {"tf2_ros": "tf2_ros_py", "cv2": "python3-opencv", "yaml": "python3-yaml"}
PYTHON_PACKAGES = {"numpy", "tqdm"}
# Ourselves, and what comes from pip (pyproject.toml).
NOT_FROM_ROSDEP = {"trg_ros", "torch", "safetensors", "openvino", "onnx"}
# Parts that no robot runs; what they need are extras in pyproject.toml.
OFF_THE_ROBOT = {"benchmark", "datasets", "demo", "evaluation", "synthetic", "training"}
# Nobody imports them: what builds the package, and `ros2 launch`.
TOOLS = {
    "ament_cmake",
    "ament_cmake_python",
    "ros2launch",
    "rosidl_default_generators",
    "rosidl_default_runtime",
}


def package_xml() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def declared_dependencies() -> set[str]:
    tags = ("depend", "exec_depend", "build_depend", "buildtool_depend")
    return {element.text or "" for tag in tags for element in package_xml().findall(tag)}


def package_of(module: str) -> str:
    return f"python3-{module}" if module in PYTHON_PACKAGES else PACKAGE_OF_MODULE.get(module, module)


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def imported_packages(files: list[Path]) -> set[str]:
    modules = set().union(*map(imported_modules, files)) - set(sys.stdlib_module_names) - NOT_FROM_ROSDEP
    return {package_of(module) for module in modules}


def test_package_xml_names_what_is_imported_and_nothing_else():
    sources = [*ROOT.glob("trg_ros/**/*.py"), *ROOT.glob("launch/*.py")]
    files = [file for file in sources if not OFF_THE_ROBOT & set(file.relative_to(ROOT).parts)]
    packages = imported_packages(files)
    assert {"rclpy", "sensor_msgs", "launch_ros", "python3-numpy"} <= packages, "the search found too little"
    assert packages <= declared_dependencies()
    assert declared_dependencies() <= imported_packages(sources) | TOOLS


def test_package_xml_and_cmake_agree_on_the_messages_dependencies():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    match = re.search(r"rosidl_generate_interfaces\(.*?DEPENDENCIES ([\w\s]+)\)", cmake, re.DOTALL)
    assert match is not None
    used = set(
        re.findall(r"^(\w+)/\w+", "\n".join(p.read_text() for p in ROOT.glob("msg/*.msg")), re.MULTILINE)
    )
    assert used == set(match.group(1).split())
    assert used <= {element.text for element in package_xml().findall("depend")}


def test_one_version_everywhere():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "trg_ros.__version__"}
    assert package_xml().findtext("version") == trg_ros.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == trg_ros.__version__


def test_maintainer_is_one_that_catkin_pkg_accepts():
    catkin_pkg = pytest.importorskip("catkin_pkg.package", reason="catkin_pkg is not installed")
    package = catkin_pkg.parse_package(str(ROOT / "package.xml"))
    assert package.name == "trg_ros"
    assert package.get_build_type() == "ament_cmake"


def fields_with_comments(file: Path) -> list[tuple[str, str, str]]:
    """Type, name and comment of each field; a block of comment lines belongs to the fields right below it."""
    fields, block = [], ""
    for line in file.read_text().splitlines():
        code, _, comment = line.partition("#")
        if not code.strip():
            block = f"{block} {comment}" if comment else ""
            continue
        kind, name = code.split()
        fields.append((kind, name, f"{block} {comment}".strip()))
    return fields


@pytest.mark.parametrize("file", sorted(ROOT.glob("msg/*.msg")), ids=lambda file: file.stem)
def test_every_message_field_says_what_it_is(file):
    for kind, name, comment in fields_with_comments(file):
        assert comment, f"{file.name}: {name} has no comment"
        if kind.startswith(("float", "geometry_msgs")):
            units = r"\b(px|m|rad|0 \.\. 1|rotation from \w+ to \w+)\b"
            assert re.search(units, comment), f"{file.name}: {name} has no unit: {comment}"


@pytest.mark.parametrize("file", sorted(ROOT.glob("msg/*.msg")), ids=lambda file: file.stem)
def test_the_built_messages_are_those_of_the_checkout(file):
    messages = pytest.importorskip("trg_ros.msg", reason="the messages are not built here")
    built = getattr(messages, file.stem).get_fields_and_field_types()
    assert list(built) == [name for _, name, _ in fields_with_comments(file)]


def test_tf_message_has_the_official_type_hash():
    """The hash travels with discovery: with another one the rest of ROS would refuse our transforms."""
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed")
    import ros_domain  # noqa: F401  a ROS domain for this test process

    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node(f"hash_{uuid.uuid4().hex}", context=context)
        node.create_publisher(tf2_msgs.TFMessage, "/tf", 1)
        (info,) = node.get_publishers_info_by_topic("/tf")
        if not hasattr(info, "topic_type_hash"):
            pytest.skip("this ROS distribution has no type hashes")
        assert str(info.topic_type_hash) == TF_MESSAGE_HASH
    finally:
        rclpy.shutdown(context=context)


@pytest.mark.parametrize("script", sorted(ROOT.glob("scripts/*")), ids=lambda script: script.name)
def test_executables_start_a_module_that_exists(script):
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env python3\n")
    (module,) = re.findall(r"^from (\S+) import main$", script.read_text(), re.MULTILINE)
    assert (ROOT / (module.replace(".", "/") + ".py")).is_file()


def test_rviz_shows_topics_that_the_node_publishes():
    config = yaml.safe_load((ROOT / "config" / "headpose.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    topics = [display["Topic"]["Value"] for display in displays if "Topic" in display]
    published = set(re.findall(r'"~/(\w+)"', (ROOT / "trg_ros" / "ros" / "publishers.py").read_text()))
    own = {topic.removeprefix("headpose/") for topic in topics if topic.startswith("headpose/")}
    assert own == {"overlay", "landmarks", "landmark_cloud"}
    assert own <= published
    assert set(topics) - {f"headpose/{topic}" for topic in own} == {"image"}


def test_fast_dds_profile_takes_a_large_image_in_one_piece():
    root = ElementTree.parse(ROOT / "config" / "fastdds_large_images.xml").getroot()
    space = "{http://www.eprosima.com}"
    full_hd = 1920 * 1080 * 3
    assert int(root.find(f".//{space}maxMessageSize").text) > full_hd
    assert int(root.find(f".//{space}segment_size").text) > 4 * full_hd


def test_a_checkout_beside_an_installation_hides_nothing():
    """`trg_ros.msg` is generated into the installation, everything else may come from the checkout."""
    if find_spec("trg_ros.msg") is None:
        pytest.skip("the messages are not built here")
    assert find_spec("trg_ros.errors") is not None
