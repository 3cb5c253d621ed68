"""`pip install .`: the Python modules and, where ROS 2 is found, its messages too.

pyproject.toml has the metadata. colcon does not use this file but CMakeLists.txt, which builds the messages.
It builds them here as well, when a ROS 2 environment is sourced or its wheels are installed with this Python.
TRG_ROS_MESSAGES=1 insists on that, TRG_ROS_MESSAGES=0 leaves them out. Without messages the estimator and the
command line work and the node does not.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.build import build
from setuptools.errors import SetupError

HERE = Path(__file__).resolve().parent
NAME = "trg_ros"


def ros_prefixes() -> list[Path]:
    """Install prefixes with rosidl in them: of the sourced environment, or else of the wheels in this one."""
    candidates = [
        Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
    ]
    candidates = candidates or [Path(sys.prefix)]
    if any((prefix / "share/rosidl_default_generators").is_dir() for prefix in candidates):
        return candidates
    return []


def build_messages_wanted() -> bool:
    """Whether this installation gets the ROS messages."""
    wish = os.environ.get("TRG_ROS_MESSAGES", "")
    if wish == "1" and not ros_prefixes():
        raise SetupError(
            "TRG_ROS_MESSAGES=1, but no ROS 2 was found: source it, or pip install the extra 'ros' first"
        )
    return wish != "0" and bool(ros_prefixes())


def build_environment() -> dict[str, str]:
    """The environment for CMake: ROS found, and the modules of pip's isolated build hidden from it."""
    prefixes = ros_prefixes()
    environment = dict(os.environ, AMENT_PREFIX_PATH=os.pathsep.join(map(str, prefixes)))
    environment["PATH"] = os.pathsep.join([str(Path(sys.prefix, "bin")), os.environ.get("PATH", "")])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    modules = ("lib/{}/site-packages", "local/lib/{}/dist-packages", "lib/{}/dist-packages")
    folders = [prefix / folder.format(version) for prefix in prefixes for folder in modules]
    environment["PYTHONPATH"] = os.pathsep.join(str(folder) for folder in folders if folder.is_dir())
    return environment


class BuildMessages(Command):
    """Generate and compile trg_ros.msg with CMake, and put it beside our modules."""

    user_options: ClassVar[list] = []

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        if self.editable_mode:
            return  # the checkout stays clean: `make setup` or colcon installs the messages
        if not build_messages_wanted():
            self.announce("ROS 2 was not found: installing without the ROS messages and the node", level=4)
            return
        prefix = self.build(HERE / "build" / "messages")
        built = next(prefix.glob(f"**/{NAME}/msg/__init__.py")).parent.parent
        target = Path(self.build_lib or "build/lib") / NAME
        shutil.copytree(
            built / "msg",
            target / "msg",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("*.c", "__pycache__"),
        )
        for library in [*built.glob("*.so"), *(prefix / "lib").glob("*.so")]:
            shutil.copy2(library, target)

    def build(self, tree: Path) -> Path:
        """Build and install in `tree`; return the install prefix."""
        prefix = tree / "install"
        shutil.rmtree(tree, ignore_errors=True)
        environment = build_environment()
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "BUILD_TESTING": "OFF",
            "CMAKE_INSTALL_PREFIX": prefix,
            "CMAKE_INSTALL_RPATH": "$ORIGIN",
            "Python3_EXECUTABLE": sys.executable,
            "TRG_ROS_INSTALL_MODULES": "OFF",
            # One type support, linked in: nothing has to be found through LD_LIBRARY_PATH.
            "STATIC_ROSIDL_TYPESUPPORT_C": "rosidl_typesupport_fastrtps_c",
            "STATIC_ROSIDL_TYPESUPPORT_CPP": "rosidl_typesupport_fastrtps_cpp",
        }
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        for arguments in (
            ["-S", str(HERE), "-B", str(tree), *definitions],
            ["--build", str(tree)],
            ["--install", str(tree)],
        ):
            subprocess.run(["cmake", *arguments], check=True, env=environment)
        return prefix

    def get_source_files(self) -> list[str]:
        return ["CMakeLists.txt", "package.xml", *self.files("msg/*.msg"), *self.files("cmake/*.cmake")]

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    @staticmethod
    def files(pattern: str) -> list[str]:
        return sorted(str(path.relative_to(HERE)) for path in HERE.glob(pattern))


class MessageDistribution(Distribution):
    """Makes the wheel one for this platform when compiled messages are in it."""

    def has_ext_modules(self) -> bool:
        return build_messages_wanted()


def shared_files() -> list[tuple[str, list[str]]]:
    """What ROS looks up in the share and lib folders of a prefix."""
    patterns = ("launch/*.launch.py", "config/**/*.yaml", "config/*.xml", "config/*.rviz", "msg/*.msg")
    folders: dict[str, list[str]] = {f"share/{NAME}": ["package.xml"]}
    for pattern in patterns:
        for file in BuildMessages.files(pattern):
            folders.setdefault(f"share/{NAME}/{Path(file).parent}", []).append(file)
    folders["share/ament_index/resource_index/packages"] = ["resource/trg_ros"]
    folders[f"lib/{NAME}"] = BuildMessages.files("scripts/*")
    return list(folders.items())


build.sub_commands.append(("build_messages", None))

setup(
    package_dir={"": "."},  # lets an editable install be a plain line in a .pth file
    data_files=shared_files(),
    distclass=MessageDistribution,
    cmdclass={"build_messages": BuildMessages},
    zip_safe=False,
)
