"""Head poses from a camera.

ros2 launch trg_ros headpose.launch.py image:=/camera/image_raw
ros2 launch trg_ros headpose.launch.py source:=photo.jpg source_fov_deg:=50 rviz:=true
ros2 launch trg_ros headpose.launch.py --show-args
"""

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

PACKAGE_SHARE = Path(__file__).resolve().parents[1]

ARGUMENTS = {
    "image": ("image", "Topic of the images."),
    "camera_info": ("", "Topic of the calibration; empty: camera_info beside the images."),
    "image_transport": (
        "",
        "raw, or compressed for the topic <image>/compressed; empty: as in params_file.",
    ),
    "detections": ("detections", "Topic of face boxes, for the parameter 'detector: topic'."),
    "namespace": ("", "Namespace of the node."),
    "name": ("headpose", "Name of the node; its topics are below it."),
    "params_file": (str(PACKAGE_SHARE / "config" / "headpose.yaml"), "Parameters of the node, a YAML file."),
    "device": ("", "Where the network runs: auto, cpu, cuda or cuda:<n>; empty: as in params_file."),
    "checkpoint": ("", "Weights, a .safetensors file; empty: as in params_file."),
    "tf_prefix": (
        "",
        "Put before the names of TF frames; auto: namespace and name of the node. Empty: as in params_file.",
    ),
    "autostart": (
        "",
        "false: stay unconfigured, a lifecycle manager does the rest; true: configure and activate at once; "
        "empty: as in params_file.",
    ),
    "respawn": ("false", "Start the node again a second after it died."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "large_images": (
        "true",
        "With Fast DDS. true: shared memory for large images (config/fastdds_large_images.xml); "
        "udp: none, for a camera that runs as another user (config/fastdds_udp.xml); false: as it is.",
    ),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "rviz": ("false", "Start RViz with config/headpose.rviz."),
    "frame": ("camera_optical_frame", "The camera's frame, for RViz to draw in and for the source."),
    "source": ("", "Play this photo, folder, video or webcam (its index) to the image topic."),
    "source_fov_deg": (
        "0.0",
        "Horizontal field of view of the source, degrees; 0: by source_camera_yaml or a photo's EXIF data, "
        "else no poses.",
    ),
    "source_camera_yaml": ("", "Calibration file of the source."),
    "source_motion": ("none", "orbit: a virtual camera moves over the first picture of the source."),
}

# Fast DDS 3 renamed it and warns about the old name.
PROFILE_VARIABLE = (
    "FASTRTPS_DEFAULT_PROFILES_FILE"
    if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    else "FASTDDS_DEFAULT_PROFILES_FILE"
)

# Image buffers of several MB are otherwise fetched from and returned to the kernel for every single message.
MALLOC_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967295",
    "MALLOC_TOP_PAD_": "67108864",
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what is started depends on their values."""
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declarations, OpaqueFunction(function=start_nodes)])


def start_nodes(context: LaunchContext) -> list[Node]:
    """The head pose node and, when asked for, the video source and RViz."""
    arguments = {name: context.launch_configurations[name] for name in ARGUMENTS}
    image = arguments["image"]
    camera_info = arguments["camera_info"] or str(Path(image).with_name("camera_info"))
    inputs = [("image", image), ("camera_info", camera_info)]
    nodes = [head_pose_node(arguments, inputs)]
    if arguments["source"]:
        nodes.append(video_source(arguments, inputs))
    if is_true(arguments["rviz"]):
        nodes.append(rviz(arguments, inputs))
    return nodes


def head_pose_node(arguments: dict[str, str], inputs: list[tuple[str, str]]) -> Node:
    """The node `headpose`; what was given on the command line overrides the file."""
    names = ("device", "checkpoint", "image_transport", "tf_prefix")
    given = {name: text(arguments[name]) for name in names if arguments[name]}
    if arguments["autostart"]:
        given["autostart"] = is_true(arguments["autostart"])
    return Node(
        package="trg_ros",
        executable="headpose_node",
        namespace=arguments["namespace"],
        name=arguments["name"],
        parameters=[arguments["params_file"], {**given, **common_parameters(arguments)}],
        remappings=[*inputs, ("detections", arguments["detections"])],
        respawn=is_true(arguments["respawn"]),
        respawn_delay=1.0,
        **process_options(arguments),
    )


def video_source(arguments: dict[str, str], inputs: list[tuple[str, str]]) -> Node:
    """A camera made from a file or a webcam."""
    settings = {
        "source": text(arguments["source"]),
        "fov_deg": float(arguments["source_fov_deg"]),
        "camera_yaml": text(arguments["source_camera_yaml"]),
        "motion": text(arguments["source_motion"]),
        "frame_id": text(arguments["frame"]),
    }
    return Node(
        package="trg_ros",
        executable="video_source",
        namespace=arguments["namespace"],
        parameters=[{**settings, **common_parameters(arguments)}],
        remappings=inputs,
        **process_options(arguments),
    )


def rviz(arguments: dict[str, str], inputs: list[tuple[str, str]]) -> Node:
    """RViz in the node's namespace; its file names topics relative to that, below the default node name."""
    outputs = ("overlay", "landmarks", "landmark_cloud")
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=arguments["namespace"],
        arguments=[
            "-d",
            str(PACKAGE_SHARE / "config" / "headpose.rviz"),
            "-f",
            arguments["frame"],
        ],
        parameters=[common_parameters(arguments)],
        remappings=[*inputs, *((f"headpose/{topic}", f"{arguments['name']}/{topic}") for topic in outputs)],
        **process_options(arguments),
    )


def common_parameters(arguments: dict[str, str]) -> dict[str, bool]:
    """Parameters of every node."""
    return {"use_sim_time": is_true(arguments["use_sim_time"])}


def text(value: str) -> ParameterValue:
    """A parameter that stays a string even if it looks like a number, as a webcam's index does."""
    return ParameterValue(value, value_type=str)


def process_options(arguments: dict[str, str]) -> dict:
    """Output, log level and environment of every node."""
    return {
        "output": "screen",
        "ros_arguments": ["--log-level", arguments["log_level"]],
        "additional_env": image_environment(arguments["large_images"]),
    }


def image_environment(large_images: str) -> dict[str, str]:
    """Environment variables that make large images cheap; those that the user has set stay as they are."""
    over_udp = large_images.lower() == "udp"
    if not over_udp and not is_true(large_images):
        return {}
    profile = PACKAGE_SHARE / "config" / ("fastdds_udp.xml" if over_udp else "fastdds_large_images.xml")
    wanted = {PROFILE_VARIABLE: str(profile), **MALLOC_SETTINGS}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def is_true(value: str) -> bool:
    """A launch argument as a truth value.

    :raises ValueError: when it is neither true nor false
    """
    if value.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"'{value}' is neither true nor false")
    return value.lower() in ("true", "1")
