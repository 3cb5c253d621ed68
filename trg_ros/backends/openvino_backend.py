"""The network in OpenVINO: about twice as fast as torch on a CPU.

It is compiled in two parts. The first makes feature maps of the crops, which is nearly all the arithmetic, in
fp32 or bf16; the second refines landmarks and pose with them, always in fp32, because a head at one metre in
bf16 is off by millimetres from rounding alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import trg_ros.model
from trg_ros.backends.model_cache import ModelCache
from trg_ros.backends.protocol import NetworkResult
from trg_ros.checkpoint import Checkpoint
from trg_ros.errors import DeviceError
from trg_ros.model.deploy import DeployedTRG

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
_PARTS = ("features", "refinement")


def openvino_installed() -> bool:
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


class OpenVINOBackend:
    """OpenVINO on the CPU, for any number of faces without compiling again.

    :param precision: of the feature maps: "fp32", or "bf16" where the CPU has instructions for it.
    :param threads: CPU threads; None: as many as OpenVINO finds cores.
    :param cache: where converted networks are kept between starts.
    :raises DeviceError: when OpenVINO is missing, or the CPU has no bf16.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: str = "fp32",
        threads: int | None = None,
        cache: ModelCache | None = None,
    ) -> None:
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        if precision == "bf16" and not self._has_bf16():
            raise DeviceError(
                "backend openvino-bf16: this CPU has no bf16 instructions; use backend openvino"
            )
        self._precision = precision
        models = (cache or ModelCache()).load_or_build(
            _key(checkpoint, self._openvino.__version__),
            load=lambda folder: [self._core.read_model(folder / f"{part}.xml") for part in _PARTS],
            build=lambda: convert(checkpoint),
            save=self._save,
        )
        precisions = (PRECISIONS[precision], "f32")
        requests = [self._compile(*pair, threads) for pair in zip(models, precisions, strict=True)]
        self._features, self._refinement = requests
        self._num_maps = checkpoint.config.iterations
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"openvino {self._precision}"

    @property
    def device(self) -> str:
        return "cpu"

    def infer(self, crops_rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NetworkResult:
        # The tensors are views: these two names keep their memory.
        crops_rgb, boxes = np.ascontiguousarray(crops_rgb), np.ascontiguousarray(boxes)
        with self._lock:
            self._features.set_input_tensor(0, self._tensor(crops_rgb))
            self._features.infer(share_outputs=True)
            self._refinement.set_input_tensor(0, self._tensor(boxes))
            for index in range(1, 1 + self._num_maps):
                self._refinement.set_input_tensor(index, self._features.get_output_tensor(index))
            self._refinement.infer(share_outputs=True)
            outputs = [self._refinement.get_output_tensor(i) for i in range(3)]
            outputs.append(self._features.get_output_tensor(0))
            return NetworkResult(*(tensor.data.copy() for tensor in outputs))

    def _tensor(self, array: NDArray) -> Any:
        return self._openvino.Tensor(array, shared_memory=True)

    def _has_bf16(self) -> bool:
        return "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def _compile(self, model: Any, precision: str, threads: int | None) -> Any:
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            # A pinned thread waits for its core while another one is idle, if the machine has other work.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        return self._core.compile_model(model, "CPU", options).create_infer_request()

    def _save(self, models: Sequence[Any], folder: Path) -> None:
        for part, model in zip(_PARTS, models, strict=True):
            self._openvino.save_model(model, folder / f"{part}.xml", compress_to_fp16=False)


def convert(checkpoint: Checkpoint) -> list[Any]:
    """The network's two parts as OpenVINO models: features and refinement, with a dynamic batch."""
    network = DeployedTRG(checkpoint.build_model())
    size = checkpoint.config.input_size
    crops = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    box = torch.tensor([[0.0, 0.0, 0.2], [0.1, 0.1, 0.3]])
    with torch.inference_mode():
        _, *maps = network.features(crops)
    return [_convert(network.features, [crops]), _convert(network.refinement, [box, *maps])]


def _convert(module: nn.Module, inputs: list[torch.Tensor]) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers torch.export, which takes six times as long
        traced = torch.jit.trace(module, tuple(inputs), check_trace=False)
    model = import_openvino().convert_model(traced)
    model.reshape({index: [-1, *tensor.shape[1:]] for index, tensor in enumerate(inputs)})
    return model


def _key(checkpoint: Checkpoint, openvino_version: str) -> str:
    """Changes with everything that the converted network depends on."""
    digest = hashlib.sha256()
    versions = [openvino_version, torch.__version__, checkpoint.config.to_dict()]
    digest.update(json.dumps(versions, sort_keys=True).encode())
    for source in sorted([*Path(trg_ros.model.__file__).parent.glob("*.py"), Path(__file__)]):
        digest.update(source.read_bytes())
    tensors = {
        name: value.detach().cpu().contiguous().numpy() for name, value in checkpoint.state_dict.items()
    }
    tensors["sampled"], tensors["landmarks68"] = checkpoint.topology.sampled, checkpoint.topology.landmarks68
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).data)
    return f"openvino-{digest.hexdigest()[:32]}"
