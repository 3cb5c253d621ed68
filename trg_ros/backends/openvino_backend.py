"""The network in OpenVINO: more than twice as fast as torch on a CPU.

Feature maps of the crops, which are nearly all the arithmetic, are made in fp32, bf16 or int8; landmarks and
pose are refined with them in fp32, because a head at one metre in bf16 is off by millimetres from rounding
alone; so with bf16 these are two networks instead of one. (With int8, weights of the refinement are integers,
too; what they are multiplied with is not.) Another one makes all landmarks, once somebody asks for them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import trg_ros.model
from trg_ros.backends.model_cache import ModelCache
from trg_ros.backends.protocol import Decoder, NetworkResult, joined
from trg_ros.checkpoint import Checkpoint
from trg_ros.checkpoint_file import digest
from trg_ros.errors import DeviceError
from trg_ros.model.config import MEAN_COLOUR

#: What to compute in for each precision: a network's parts, one after the other.
PRECISIONS = {
    "fp32": {"network": "f32"},
    "bf16": {"features": "bf16", "refinement": "f32"},
    "int8": {"network": "f32"},
}
_LANDMARKS = "landmarks"
_OUTPUTS = ("landmarks68_head", "rotation", "translation", "landmarks68_crop", "shape_code")
#: Numbers of faces that networks are compiled for.
_SIZES = (1, 2, 4, 8)
#: A network may be that many times too large for the faces at hand.
_MAX_IDLE_SHARE = 1.4
_CPUINFO = Path("/proc/cpuinfo")


def openvino_installed() -> bool:
    """Whether the package openvino is there; nothing is imported."""
    return find_spec("openvino") is not None


def import_openvino() -> ModuleType:
    """OpenVINO, without its telemetry: the mere import would report to its makers over the network.

    :raises DeviceError: when it isn't installed or doesn't load.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"backend openvino can't be used ({error}): pip install openvino, or use backend auto or torch"
        ) from error
    return openvino


def has_vnni() -> bool:
    """Whether the CPU multiplies 8-bit integers without losing digits; older ones saturate on the way."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", _CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags[1].split())


class OpenVINOBackend:
    """OpenVINO on the CPU.

    A network that is compiled for a fixed number of faces takes about half the time of one for any number.
    That for one face is there from the start; for more faces at once others are compiled when they are first
    needed, in the background: until they are ready, those that exist run several times.

    :param precision: of the feature maps: "fp32", or "bf16" or "int8" where the CPU has instructions for it.
    :param threads: CPU threads; None: as many as OpenVINO finds cores.
    :param cache: where converted networks are kept between starts.
    :raises DeviceError: when OpenVINO is missing, the CPU has no such instructions, or the checkpoint lacks
        what integers need.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: str = "fp32",
        threads: int | None = None,
        cache: ModelCache | None = None,
    ) -> None:
        openvino = import_openvino()
        self._core = openvino.Core()
        self._check(checkpoint, precision)
        self._precision, self._crop_size = precision, checkpoint.config.input_size
        self._threads = threads
        parts, integers = [*PRECISIONS[precision], _LANDMARKS], precision == "int8"
        self._models = (cache or ModelCache()).load_or_build(
            _key(checkpoint, parts, integers, openvino.__version__),
            load=lambda folder: {part: self._core.read_model(folder / f"{part}.xml") for part in parts},
            build=lambda: _build(checkpoint, parts, integers),
            save=_save,
        )
        self._lock = threading.Lock()
        self._landmarks: Any = None
        self._compiler = ThreadPoolExecutor(1, "openvino compiler")
        self._networks: dict[int, Future[_Network]] = {}
        self._prepare(1).result()

    @property
    def name(self) -> str:
        """What runs the network and how precisely."""
        return f"openvino {self._precision}"

    @property
    def device(self) -> str:
        """Where it runs."""
        return "cpu"

    def infer(self, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NetworkResult:
        """As :meth:`Backend.infer`; in as many calls as the networks that are ready make of it."""
        parts, done = [], 0
        with self._lock:
            while done < len(crops_rgb):
                network = self._network_for(len(crops_rgb) - done)
                part = slice(done, done + network.size)
                parts.append(network.infer(crops_rgb[part], boxes[part], self._decode))
                done += network.size
        return parts[0] if len(parts) == 1 else joined(parts)

    def prepare(self, faces: int) -> None:
        """Wait until the networks for so many faces at once are compiled."""
        while faces > 0:
            size = _size_for(faces)
            self._prepare(size).result()
            faces -= size

    def _decode(self, shape_code: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            if self._landmarks is None:
                self._landmarks = self._compile_part(self._models[_LANDMARKS], "f32")
            return self._landmarks.infer([np.ascontiguousarray(shape_code)])[0].copy()

    def _network_for(self, faces: int) -> _Network:
        """The best one for so many faces, or the best that is ready."""
        wanted = self._prepare(_size_for(faces))
        if wanted.done():
            return wanted.result()
        ready = [size for size, network in self._networks.items() if size <= faces and network.done()]
        return self._networks[max(ready)].result()

    def _prepare(self, size: int) -> Future[_Network]:
        if size not in self._networks:
            self._networks[size] = self._compiler.submit(self._compile, size)
        return self._networks[size]

    def _compile(self, size: int) -> _Network:
        parts = []
        for name, precision in PRECISIONS[self._precision].items():
            model = _fixed(self._models[name], size)
            parts.append((model, self._compile_part(model, precision)))
        return _Network(size, self._crop_size, parts)

    def _compile_part(self, model: Any, precision: str) -> Any:
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            # A pinned thread waits for its core while another one is idle, if the machine has other work.
            "ENABLE_CPU_PINNING": False,
            # Otherwise what integer weights are multiplied with would be rounded as well.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        if self._threads is not None:
            options["INFERENCE_NUM_THREADS"] = self._threads
        return self._core.compile_model(model, "CPU", options).create_infer_request()

    def _check(self, checkpoint: Checkpoint, precision: str) -> None:
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError(
                "backend openvino-bf16: this CPU has no bf16 instructions; use backend openvino"
            )
        if precision == "int8" and not has_vnni():
            raise DeviceError(
                "backend openvino-int8: this CPU has no VNNI instructions; use backend openvino"
            )
        if precision == "int8" and not checkpoint.activation_peaks:
            raise DeviceError(
                f"backend openvino-int8: {checkpoint.info.name} has no activation peaks; run `trg-headpose "
                "calibrate` on it, or use backend openvino"
            )


class _Network:
    """Its parts, compiled for ``size`` faces, with inputs and outputs connected once and for all."""

    def __init__(self, size: int, crop_size: int, parts: list[tuple[Any, Any]]) -> None:
        """:param parts: models, and requests for their inference. Crops may need a border of mean colour."""
        self.size = size
        self._requests = [request for _, request in parts]
        tensors: dict[str, Any] = {}
        for model, request in parts:
            for name in [port.any_name for port in model.inputs]:
                if name in tensors:
                    request.set_tensor(name, tensors[name])
            names = [port.any_name for port in [*model.inputs, *model.outputs]]
            tensors.update((name, request.get_tensor(name)) for name in names)
        # Views of the runtime's own memory.
        canvas, self._boxes = tensors["crops_rgb"].data, tensors["box"].data
        canvas[:] = MEAN_COLOUR
        border = (canvas.shape[1] - crop_size) // 2
        inside = slice(border, border + crop_size)
        self._crops = canvas[:, inside, inside]
        self._boxes[:] = (0.0, 0.0, 1.0)
        self._outputs: dict[str, Any] = {name: tensors[name].data for name in _OUTPUTS}

    def infer(
        self, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32], decode: Decoder
    ) -> NetworkResult:
        """As :meth:`Backend.infer` for up to ``size`` faces; what is missing is computed and left out."""
        faces = len(crops_rgb)
        self._crops[:faces], self._boxes[:faces] = crops_rgb, boxes
        for request in self._requests:
            request.infer(share_outputs=True)
        copies = {name: output[:faces].copy() for name, output in self._outputs.items()}
        return NetworkResult(**copies, decode=decode)


def _size_for(faces: int) -> int:
    """How many of so many faces to look at at once; a little more than all of them if that is cheaper."""
    enough = [size for size in _SIZES if faces <= size <= _MAX_IDLE_SHARE * faces]
    return min(enough) if enough else max(size for size in _SIZES if size <= faces)


def _fixed(model: Any, size: int) -> Any:
    model = model.clone()
    shapes = [source.get_partial_shape() for source in model.inputs]
    for shape in shapes:
        shape[0] = size
    model.reshape(dict(enumerate(shapes)))
    return model


def _build(checkpoint: Checkpoint, parts: list[str], integers: bool) -> dict[str, Any]:
    from trg_ros.backends.openvino_conversion import convert  # it needs torch; what is cached doesn't

    return dict(zip(parts, convert(checkpoint, parts, integers), strict=True))


def _save(models: dict[str, Any], folder: Path) -> None:
    for part, model in models.items():
        import_openvino().save_model(model, folder / f"{part}.xml", compress_to_fp16=False)


def _key(checkpoint: Checkpoint, parts: list[str], integers: bool, openvino_version: str) -> str:
    """Changes with everything that the converted network depends on."""
    peaks = checkpoint.activation_peaks if integers else None
    topology = checkpoint.topology
    tensors = {**checkpoint.weights, "sampled": topology.sampled, "landmarks68": topology.landmarks68}
    settings = [openvino_version, checkpoint.config.to_dict(), parts, peaks, digest(tensors)]
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    conversion = Path(__file__).with_name("openvino_conversion.py")
    for source in sorted([*Path(trg_ros.model.__file__).parent.glob("*.py"), conversion]):
        key.update(source.read_bytes())
    return f"openvino-{key.hexdigest()[:32]}"
