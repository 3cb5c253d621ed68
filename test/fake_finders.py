"""Stand-ins for the network in tests of the command line; without torch, for some run in a new process."""

import time

import numpy as np

from trg_ros.camera import CameraModel
from trg_ros.crop import CropWindows
from trg_ros.geometry import HEAD_R_FACE, make_transform
from trg_ros.heads import HeadPose
from trg_ros.media.frames import Frame
from trg_ros.tracking import TrackedHead


def head_pose(camera, camera_T_face, box, score):
    """A head made by hand, of 100 landmarks around the face's origin."""
    camera_T_head = np.array(camera_T_face)
    camera_T_head[:3, :3] = camera_T_face[:3, :3] @ HEAD_R_FACE.T
    landmarks = (np.random.default_rng(0).normal(size=(100, 3)) * 0.05).astype(np.float32)
    window = CropWindows.from_boxes(camera, [box])
    return HeadPose(
        camera_T_head, camera_T_face, score, np.eye(6), camera, window, landmarks[:68], lambda: landmarks
    )


class FakeFinder:
    """Finds one head in each frame, always the same."""

    checkpoint_name = "fake"
    device = "cpu"

    def __init__(self, args, source):
        pass

    def heads(self, frame: Frame, camera: CameraModel):
        camera_T_face = make_transform(HEAD_R_FACE, np.array([0.01, -0.02, 0.8]))
        return [TrackedHead(1, 0, head_pose(camera, camera_T_face, [20, 10, 50, 40], 0.75))]


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
