"""The way from a frame to poses, one stage after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trg_ros.backends import Backend, NetworkResult
from trg_ros.benchmark.scene import Scene, make_scene
from trg_ros.benchmark.timing import Call, interleave
from trg_ros.benchmark.tracked import tracked_frame
from trg_ros.crop import CropWindows, cut_crops
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.geometry import shortest_turn
from trg_ros.heads import build_heads
from trg_ros.tracking import TrackedHead

SIZES = {"VGA": (640, 480), "1080p": (1920, 1080)}


class StageBenchmark:
    """Times each stage for each number of faces, size of image and back end.

    :param estimators: by the name of their back end, all of one checkpoint.
    """

    def __init__(
        self,
        estimators: dict[str, HeadPoseEstimator],
        photo: NDArray[np.uint8],
        face_box: NDArray,
        rounds: int,
    ) -> None:
        self._estimators = estimators
        self._photo, self._face_box = photo, face_box
        self._rounds = rounds

    def run(
        self, faces: Sequence[int], sizes: Sequence[str], tell: Callable[[str], None]
    ) -> list[dict[str, Any]]:
        """One row for each image size, number of faces and stage.

        :param sizes: keys of ``SIZES``.
        :param tell: is told what is measured next.
        """
        rows = []
        for size in sizes:
            for count in faces:
                tell(f"{size}, {count} faces")
                scene = make_scene(self._photo, self._face_box, count, SIZES[size])
                rows += [{"image": size, "faces": count, **row} for row in self._stages(scene)]
        return rows

    def _stages(self, scene: Scene) -> list[dict[str, Any]]:
        estimator = next(iter(self._estimators.values()))
        calls: dict[str, Callable[[], Any]] = {"decode jpeg": _jpeg_decoder(scene)}
        if estimator.has_detector:
            calls["detect"] = lambda: estimator.detect(scene.image_bgr)
        if len(scene.boxes):
            calls |= self._face_stages(scene, estimator)
        for name, candidate in self._estimators.items():
            calls[f"frame: {name}"] = tracked_frame(candidate, scene)
        samples = interleave({name: Call(call) for name, call in calls.items()}, self._rounds)
        return [{"stage": name, **times.summary()} for name, times in samples.items()]

    def _face_stages(self, scene: Scene, estimator: HeadPoseEstimator) -> dict[str, Callable[[], Any]]:
        checkpoint = estimator.checkpoint
        windows = _facing(CropWindows.from_boxes(scene.camera, scene.boxes))
        size = checkpoint.config.input_size
        crops = cut_crops(scene.image_bgr, scene.camera, windows, size)
        boxes = windows.normalised
        result = estimator.backend.infer(crops, boxes)
        scores = np.ones(len(boxes))

        def pack() -> list:
            return build_heads(result, windows, scene.camera, scores, checkpoint)

        calls: dict[str, Callable[[], Any]] = {
            "crop": lambda: cut_crops(scene.image_bgr, scene.camera, windows, size),
            "pack": pack,
        }
        for name, candidate in self._estimators.items():
            calls[f"network: {name}"] = _inference(candidate.backend, crops, boxes)
            if hasattr(candidate.backend, "cutter"):  # where the network runs; with the image's way there
                calls[f"crop + network: {name}"] = _cutting_inference(candidate.backend, scene, windows)
        if find_spec("rclpy") is not None and find_spec("trg_ros.msg") is not None:
            calls["publish"] = _publishing(scene, pack())
        return calls


def find_face(estimator: HeadPoseEstimator, photo: NDArray[np.uint8]) -> NDArray:
    """TRG box LTRB px of the photo's best face; where none is found, the middle of the photo."""
    if estimator.has_detector:
        boxes = estimator.detector.trg_boxes(estimator.detect(photo))
        if len(boxes):
            return np.asarray(boxes[0], float)
    height, width = photo.shape[:2]
    half = 0.25 * min(width, height)
    return np.array([width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half])


def _jpeg_decoder(scene: Scene) -> Callable[[], Any]:
    encoded = cv2.imencode(".jpg", scene.image_bgr)[1]
    return lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def _inference(
    backend: Backend, crops: NDArray[np.uint8], boxes: NDArray[np.float32]
) -> Callable[[], NetworkResult]:
    return lambda: backend.infer(crops, boxes)


def _cutting_inference(backend: Any, scene: Scene, windows: CropWindows) -> Callable[[], NetworkResult]:
    return lambda: backend.infer(backend.cutter(scene.image_bgr, scene.camera)(windows), windows.normalised)


def _facing(windows: CropWindows) -> CropWindows:
    """The same faces as a tracker sees them: through virtual cameras that face them."""
    rays = windows.rays(windows.center)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return CropWindows(np.zeros_like(windows.center), windows.size, shortest_turn(rays))


def _publishing(scene: Scene, heads: list) -> Callable[[], Any]:
    """Making and serialising the message with everything in it, without the middleware's transport."""
    from rclpy.serialization import serialize_message
    from std_msgs.msg import Header

    from trg_ros.ros.frame import FrameResult
    from trg_ros.ros.messages import head_pose_array

    tracked = [TrackedHead(index + 1, index, head) for index, head in enumerate(heads)]
    result = FrameResult(Header(frame_id="camera"), scene.image_bgr, scene.camera, tracked, False, "")
    return lambda: serialize_message(head_pose_array(replace(result), with_landmarks=False))  # poses anew
