"""One tracked face, image in to pose out: ours, and its peers in the same minutes on the same core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trg_ros.backends.model_cache import ModelCache
from trg_ros.backends.openvino_backend import PRECISIONS, OpenVINOBackend
from trg_ros.backends.protocol import NetworkResult
from trg_ros.benchmark import peer_worker
from trg_ros.benchmark.scene import Scene
from trg_ros.benchmark.timing import Call, Contender, Samples, interleave
from trg_ros.benchmark.tracked import tracked_frame
from trg_ros.checkpoint import Checkpoint, CheckpointInfo
from trg_ros.crop import CropWindows, cut_crops
from trg_ros.errors import DeviceError, InputError
from trg_ros.estimator import HeadPoseEstimator
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.model.topology import Topology

PAPER = "the paper's architecture (random weights)"


class Peer:
    """A peer in a process of its own; a context manager.

    :param kind: one of ``peer_worker.KINDS``.
    :param location: for mediapipe the Python that has it, for the others a checkout.
    :raises InputError: when it doesn't start, with its last words.
    """

    def __init__(self, kind: str, location: str, scene_path: Path) -> None:
        if kind not in peer_worker.KINDS:
            raise InputError(f"peer {kind!r} is unknown: use {' or '.join(peer_worker.KINDS)}")
        python = location if kind == "mediapipe" else sys.executable
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, peer_worker.__file__, kind, location, str(scene_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise InputError(f"peer {kind}: {python} can't be started ({error.strerror})") from error
        self._kind = kind
        self.version = str(self._answer()["ready"])

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def measure(self, calls: int) -> Samples:
        """Times of so many calls in the peer's own process. :raises InputError: when it fails."""
        print(calls, file=self._process.stdin, flush=True)
        return Samples(**self._answer())

    def _answer(self) -> dict[str, Any]:
        output = self._process.stdout
        line = output.readline() if output is not None else ""
        if not line:
            self._process.kill()
            self._process.wait()
            self._errors.seek(0)
            words = [text for text in self._errors.read().splitlines() if text.strip()]
            raise InputError(f"peer {self._kind} failed: {words[-1].strip() if words else 'it said nothing'}")
        return json.loads(line)


def compare_with_peers(
    estimators: dict[str, HeadPoseEstimator],
    scene: Scene,
    peers: Sequence[tuple[str, str]],
    rounds: int,
    threads: int = 1,
    with_paper: bool = True,
) -> list[dict[str, Any]]:
    """One tracked face. Every row has its ratio to the first peer, by CPU time.

    :param scene: with one face.
    :param peers: kinds and locations.
    :param threads: of the network, where the paper's architecture is measured.
    :param with_paper: also time the architecture of the paper's release.
    """
    contenders: dict[str, Contender] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.savez(folder / "scene.npz", image_bgr=scene.image_bgr, box=scene.boxes[0])
        for kind, location in peers:
            peer = stack.enter_context(Peer(kind, location, folder / "scene.npz"))
            contenders[f"{kind} {peer.version}"] = peer
        for name, estimator in estimators.items():
            contenders[f"trg_ros, {name}"] = Call(tracked_frame(estimator, scene))
        if with_paper:
            contenders |= _paper_contenders(scene, folder, threads)
        samples = interleave(contenders, rounds)
    summaries = {name: times.summary() for name, times in samples.items()}
    first_ms = next(iter(summaries.values()))["cpu_median_ms"]
    return [
        {"contender": name, **summary, "cpu_ratio_to_first": round(summary["cpu_median_ms"] / first_ms, 3)}
        for name, summary in summaries.items()
    ]


def _paper_contenders(scene: Scene, folder: Path, threads: int) -> dict[str, Contender]:
    """Crop and network of the release's architecture, one face: plain eager torch, which makes all landmarks,
    then OpenVINO, which makes them when somebody asks."""
    checkpoint = _paper_checkpoint()
    model = checkpoint.build_model()
    size = checkpoint.config.input_size
    windows = CropWindows.from_boxes(scene.camera, scene.boxes[:1])

    def crop() -> NDArray[np.uint8]:
        return cut_crops(scene.image_bgr, scene.camera, windows, size)

    @torch.inference_mode()
    def eager() -> Any:
        crops = normalise_crops(torch.from_numpy(crop())).contiguous()
        return model(crops, torch.from_numpy(windows.normalised))[-1]

    contenders: dict[str, Contender] = {f"{PAPER}, plain eager torch": Call(eager)}
    for precision in PRECISIONS:
        try:
            backend = OpenVINOBackend(checkpoint, precision, threads, ModelCache(folder))
        except DeviceError:
            continue
        infer = _with(backend, crop, windows)
        contenders[f"{PAPER}, {backend.name}"] = Call(infer)
        contenders[f"{PAPER}, {backend.name}, all landmarks"] = Call(_all_landmarks(infer))
    return contenders


def _with(
    backend: OpenVINOBackend, crop: Callable[[], NDArray[np.uint8]], windows: CropWindows
) -> Callable[[], NetworkResult]:
    return lambda: backend.infer(crop(), windows.normalised)


def _all_landmarks(infer: Callable[[], NetworkResult]) -> Callable[[], Any]:
    return lambda: infer().landmarks_head


def _paper_checkpoint() -> Checkpoint:
    """The release's architecture with random weights, which are as fast as any."""
    torch.manual_seed(0)
    config = TRGConfig()
    everything = np.arange(config.num_landmarks)
    triangles = np.stack([everything[:-2], everything[1:-1], everything[2:]], axis=1)
    topology = Topology(triangles, everything[: config.num_sampled], everything[:68])
    info = CheckpointInfo(name="random weights")
    return Checkpoint(config, topology, info, TRG(config, topology).state_dict())
