"""Stand-ins for the network in tests of the command line; without torch, for some run in a new process."""

import time
from types import SimpleNamespace

import numpy as np

from trg_ros.camera import CameraModel
from trg_ros.sources import Frame

CAMERA_R_FACE = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
"""A face that looks straight into the camera: x out of it, y to the person's left, z up."""


class FakeFinder:
    """Finds one head in each frame, always the same."""

    checkpoint_name = "fake"
    device = "cpu"

    def __init__(self, args, source):
        pass

    def heads(self, frame: Frame, camera: CameraModel):
        position = np.array([0.01, -0.02, 0.8])
        landmarks = position + np.random.default_rng(0).normal(size=(100, 3)) * 0.05
        camera_T_face = np.eye(4)
        camera_T_face[:3, :3], camera_T_face[:3, 3] = CAMERA_R_FACE, position
        head = SimpleNamespace(
            rotation=np.eye(3),
            camera_T_face=camera_T_face,
            landmarks_camera=landmarks,
            landmarks_image=camera.project(landmarks),
            landmarks68_image=camera.project(landmarks[:68]),
            box=np.array([20.0, 10.0, 50.0, 40.0]),
            score=0.75,
        )
        return [SimpleNamespace(id=1, slot=0, head=head)]


class NoHeads(FakeFinder):
    """Sees nobody."""

    def heads(self, frame, camera):
        return []


class SlowFinder(FakeFinder):
    """Says that it works, and works for a long time."""

    def heads(self, frame, camera):
        print("working", flush=True)
        time.sleep(60)
        return []
