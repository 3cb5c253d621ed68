"""Starts the camera and the node, watches them for ten seconds and leaves pictures and a bag."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trg_ros.arguments import positive
from trg_ros.demo.processes import Child, prepare_environment, share_folder
from trg_ros.errors import InputError, TrgRosError
from trg_ros.media.photo import check_photo_signature
from trg_ros.media.recording import writing_to

if TYPE_CHECKING:
    from trg_ros.demo.bag import Bag
    from trg_ros.demo.client import DemoClient

_FACE_IN_ASTRONAUT = (0.44, 0.27)
"""Where the virtual camera looks, as shares of the photo's width and height: a little above the chin."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns 0 if poses arrived."""
    args = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        _run(args)
    except TrgRosError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trg_ros.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder (default: demo_output)")
    parser.add_argument("--seconds", type=positive, default=10.0, help="how long to watch (default: 10)")
    parser.add_argument(
        "--patience", type=positive, default=120.0, help="seconds until the first pose (default: 120)"
    )
    parser.add_argument("--rate", type=positive, default=10.0, help="images per second (default: 10)")
    parser.add_argument("--photo", type=Path, help="a photo with a face (default: scikit-image's astronaut)")
    parser.add_argument("--checkpoint", default="", help="weights (default: the packaged ones)")
    return parser.parse_args(argv)


def _run(args: argparse.Namespace) -> None:
    if find_spec("rclpy") is None:
        raise InputError("this Python has no ROS 2 (rclpy): source a distribution, or use `make demo`")
    photo = args.photo if args.photo is not None else _astronaut()
    look_at = _FACE_IN_ASTRONAUT if args.photo is None else (0.5, 0.5)
    check_photo_signature(photo)
    log_folder = args.out / "logs"
    with writing_to(args.out):
        log_folder.mkdir(parents=True, exist_ok=True)
    prepare_environment(log_folder.absolute())
    print(
        f"demo: {photo.name} seen by a turning, zooming camera; ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}"
    )
    with ExitStack() as stack:
        children = [
            stack.enter_context(Child("headpose", "trg_ros.ros.node", _node_arguments(args), log_folder)),
            stack.enter_context(
                Child(
                    "video_source",
                    "trg_ros.ros.video_source",
                    _camera_arguments(photo, look_at, args),
                    log_folder,
                )
            ),
        ]
        for child in children:
            stack.callback(child.interrupt)  # all at once; each is waited for afterwards
        _watch(args, children, stack)


def _watch(args: argparse.Namespace, children: list[Child], stack: ExitStack) -> None:
    # Imported after the environment is set, and while the children are starting.
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from trg_ros.demo.client import DemoClient
    from trg_ros.demo.table import LiveTable

    bag = _open_bag(args.out / "bag", stack)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    stack.callback(rclpy.try_shutdown)
    client = DemoClient(bag.write if bag is not None else None)
    stack.callback(client.destroy_node)
    executor = SingleThreadedExecutor()
    executor.add_node(client)
    table = LiveTable(sys.stdout)
    started_s = time.monotonic()
    first_pose_s = None
    try:
        while first_pose_s is None or time.monotonic() - first_pose_s < args.seconds:
            executor.spin_once(timeout_sec=0.1)
            _check_alive(children)
            if client.status is not None:
                table.update(client.status)
            if first_pose_s is None and client.samples:
                first_pose_s = time.monotonic()
            if first_pose_s is None:
                _check_hope(client, children, time.monotonic() - started_s, args.patience)
    except ExternalShutdownException as error:
        raise TrgRosError("rclpy was shut down from outside") from error
    finally:
        executor.shutdown()
    _report(client, bag, args.out, first_pose_s - started_s)


def _astronaut() -> Path:
    try:
        import skimage.data
    except ImportError as error:
        raise InputError(
            "the demo's photo is scikit-image's: pip install scikit-image, or give --photo"
        ) from error
    return Path(skimage.data.__file__).parent / "astronaut.png"


def _node_arguments(args: argparse.Namespace) -> list[str]:
    from_camera = ["-r", "image:=/camera/image", "-r", "camera_info:=/camera/camera_info"]
    checkpoint = ["-p", f"checkpoint:={Path(args.checkpoint).absolute()}"] if args.checkpoint else []
    return ["--ros-args", *from_camera, *checkpoint]


def _camera_arguments(photo: Path, look_at: tuple[float, float], args: argparse.Namespace) -> list[str]:
    from trg_ros.media.photo import read_photo

    height, width = read_photo(photo).shape[:2]
    # Nobody knows the photo's camera: the paper's convention, focal length = width + height.
    fov_deg = math.degrees(2.0 * math.atan(0.5 * width / (width + height)))
    parameters = {
        "source": str(photo.absolute()),
        "motion": "orbit",
        "fov_deg": fov_deg,
        "rate": float(args.rate),
        "look_at_x": look_at[0],
        "look_at_y": look_at[1],
    }
    given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    return ["--ros-args", "-r", "__ns:=/camera", *given]


def _open_bag(path: Path, stack: ExitStack) -> Bag | None:
    try:
        from trg_ros.demo.bag import Bag
    except ImportError:
        print("demo: no bag will be written: rosbags is not installed (pip install rosbags)", file=sys.stderr)
        return None
    return stack.enter_context(Bag(path, share_folder() / "msg"))


def _check_alive(children: list[Child]) -> None:
    for child in children:
        if child.exit_status is not None:
            raise TrgRosError(
                f"{child.name} ended with status {child.exit_status}; "
                f"it said ({child.log}):\n{child.last_lines()}"
            )


def _check_hope(client: DemoClient, children: list[Child], waited_s: float, patience_s: float) -> None:
    """Raises as soon as waiting for the first pose makes no sense any more."""
    if waited_s < patience_s and not any(child.has_complained() for child in children):
        return
    received = ", ".join(f"{topic}: {count}" for topic, count in sorted(client.counts.items())) or "nothing"
    logs = "\n".join(f"  {child.name} said ({child.log}):\n{child.last_lines()}" for child in children)
    raise TrgRosError(f"no pose arrived in {waited_s:.0f} s; received {received}\n{logs}")


def _report(client: DemoClient, bag: Bag | None, out: Path, start_up_s: float) -> None:
    from trg_ros.demo.motion import compare_with_known_motion
    from trg_ros.media.recording import write_image

    status = client.status
    if status is None:
        raise TrgRosError("no message of ~/faces arrived")
    print(
        f"\n{len(client.samples)} poses in {status.frames} images with '{status.checkpoint}', first after "
        f"{start_up_s:.1f} s; {status.rate_hz:.1f} Hz, {status.latency_ms:.0f} ms from image to pose"
    )
    errors = compare_with_known_motion(client.samples, client.camera_in_photo)
    if errors is not None:
        print(
            f"against the known motion over {errors.views} views (the camera turned by up to "
            f"{errors.largest_turn_deg:.0f} deg):\n  rotation off by {errors.rotation_median_deg:.1f} deg "
            f"(median), {errors.rotation_max_deg:.1f} deg (largest)\n  position off by "
            f"{100 * errors.position_median:.1f} % of the distance (median), distance steady within "
            f"{100 * errors.distance_spread:.1f} %"
        )
    overlay = client.newest_overlay()
    if overlay is not None:
        write_image(out / "overlay.png", overlay)
        print(f"picture: {out / 'overlay.png'}")
    if bag is not None:
        print(f"bag:     {bag.path} ({bag.messages} messages; MCAP, for RViz, Foxglove, rosbags)")


if __name__ == "__main__":
    sys.exit(main())
