"""A thousand damaged images and calibrations through a node's input path; prints what came of them.

python test/ros_fuzz.py CHECKPOINT
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import ros_domain  # noqa: F401 - before the first participant
from builtin_interfaces.msg import Time
from ros_bad_inputs import HEIGHT, WIDTH, camera_info, image
from ros_rig import Rig
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from trg_ros.msg import FaceBox, FaceBoxArray, HeadPoseArray

from trg_ros.ros.node import HeadPoseNode

MESSAGES, WARM_UP = 1000, 200
ROW, WHOLE = WIDTH * 3, WIDTH * HEIGHT * 3
"""Bytes of an image that is as its calibration says."""
ODD = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, -1e9, 1e300)


def damaged_image(rng: np.random.Generator) -> Image:
    """One that no calibration of WIDTH x HEIGHT, 3 bytes a pixel, can fit."""
    kind = rng.integers(5)
    if kind == 0:
        return image(size=int(rng.integers(0, WHOLE)))
    if kind == 1:
        return image(step=int(rng.integers(0, ROW)))
    if kind == 2:
        return image(width=int(rng.integers(WIDTH + 1, 2**32)), step=ROW, size=WHOLE)
    if kind == 3:
        return image(height=int(rng.integers(HEIGHT + 1, 2**32)), size=WHOLE)
    letters = rng.integers(32, 127, rng.integers(0, 20)).astype(np.uint8).tobytes().decode()
    return image(f"?{letters}")


def damaged_camera_info(rng: np.random.Generator) -> CameraInfo:
    """One that describes no camera, or not ours."""
    kind, odd = rng.integers(6), ODD[rng.integers(len(ODD))]
    if kind == 0:
        info = camera_info()
        info.k[rng.choice([0, 4])] = odd
        return info
    if kind == 1:
        return camera_info(**{("width", "height")[rng.integers(2)]: int(rng.integers(WIDTH + 1, 2**32))})
    if kind == 2:
        return camera_info(d=rng.normal(size=rng.choice([1, 2, 3, 6, 7, 9, 40])).tolist())
    if kind == 3:
        d = rng.normal(size=5)
        d[rng.integers(5)] = ODD[rng.integers(3)]
        return camera_info(d=d.tolist())
    if kind == 4:
        return camera_info(roi=tuple(int(number) for number in rng.integers(WIDTH, 2**32, 4)))
    return camera_info(binning_x=int(rng.integers(WIDTH + 1, 2**32)))


class Feeder:
    """Gives messages to the node as its subscriptions do."""

    def __init__(self, node: HeadPoseNode) -> None:
        assert node._running is not None
        self._inputs, self._statistics = node._running.inputs, node._running.statistics
        self._second = 1000
        self.stamps: list[int] = []

    def ended(self) -> int:
        return sum(self._statistics.get(name) for name in ("processed", "refused", "failed"))

    def feed(self, picture: Image, info: CameraInfo) -> int:
        """An image with its calibration and a face; waits until the node is done. Returns its second."""
        before, self._second = self.ended(), self._second + 1
        header = Header(stamp=Time(sec=self._second), frame_id="camera")
        picture.header = info.header = header
        self._inputs._on_camera_info(info)
        face = FaceBox(left=10.0, top=10.0, right=40.0, bottom=40.0, score=0.9)
        self._inputs._on_boxes(FaceBoxArray(header=header, boxes=[face]))
        self._inputs._on_image(picture)
        end = time.monotonic() + 30.0
        while self.ended() == before:
            assert time.monotonic() < end, "the node is stuck"
            time.sleep(0.0005)
        return self._second


def memory_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1e3


def main(checkpoint: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    with Rig(checkpoint, "/fuzz", backend="torch") as rig:
        faces = rig.robot.listen("headpose/faces", HeadPoseArray)
        assert rig.robot.spin_until(lambda: rig.robot.image_subscribers)
        feeder = Feeder(rig.node)
        good = [feeder.feed(image(), camera_info())]
        warm_mb = 0.0
        for index in range(MESSAGES):
            if index == WARM_UP:
                warm_mb = memory_mb()
            if index % 2:
                feeder.feed(damaged_image(rng), camera_info())
            else:
                feeder.feed(image(), damaged_camera_info(rng))
        grown_mb = memory_mb() - warm_mb
        good.append(feeder.feed(image(), camera_info()))
        assert rig.robot.spin_until(lambda: faces and faces[-1].header.stamp.sec == good[-1])
        return {
            "refused": rig.count("refused"),
            "failed": rig.count("failed"),
            "answered": [message.header.stamp.sec for message in faces],
            "good": good,
            "heads": len(faces[-1].heads),
            "grown_mb": grown_mb,
        }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
