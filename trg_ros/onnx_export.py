"""A checkpoint's network as an ONNX file that explains itself.

Inputs: ``crops_rgb`` (N, S, S, 3) uint8 and ``box`` (N, 3) float32, as for `DeployedTRG.forward`; outputs:
the fields of its result. The file's metadata has the checkpoint's information with its conventions, its
configuration and the indices of the landmarks that it gives.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from trg_ros.checkpoint import Checkpoint
from trg_ros.errors import InputError
from trg_ros.model.deploy import DeployedOutput, DeployedTRG

OPSET = 20  # the first whose GridSample is called as it is used here
_MAX_FACES = 1024


def export_onnx(checkpoint: Checkpoint, path: str | os.PathLike[str], dense: bool = True) -> Path:
    """Write the network for inference, all of it or nothing; the batch size stays open.

    :param dense: see `DeployedTRG`.
    :raises InputError: when ONNX's packages are missing or the file can't be written.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(f"exporting to ONNX needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(
            f"{path}: {'a folder' if path.is_dir() else 'its folder does not exist'}; name a file"
        )
    network = DeployedTRG(checkpoint.build_model(), dense)
    program = _program(network)
    program.model.metadata_props.update(_metadata(checkpoint, network))
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder) / path.name
            program.save(str(temporary))
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: can't be written ({error.strerror})") from error
    return path


def _program(network: DeployedTRG) -> Any:
    size = network.config.input_size
    crops = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    box = torch.tensor([[0.0, 0.0, 0.2], [0.1, 0.1, 0.3]])
    faces = torch.export.Dim("faces", min=1, max=_MAX_FACES)
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it warns that torchvision is missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                network,
                (crops, box),
                dynamo=True,
                dynamic_shapes=({0: faces}, {0: faces}),
                input_names=["crops_rgb", "box"],
                output_names=list(DeployedOutput._fields),
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)


def _metadata(checkpoint: Checkpoint, network: DeployedTRG) -> dict[str, str]:
    """ONNX metadata are strings: each is JSON."""
    topology = checkpoint.topology
    positions = {int(index): position for position, index in enumerate(network.landmark_indices)}
    values = {
        "trg_ros.info": checkpoint.info.to_dict(),
        "trg_ros.config": checkpoint.config.to_dict(),
        "trg_ros.landmark_indices": network.landmark_indices.tolist(),
        "trg_ros.landmarks68": [positions[int(index)] for index in topology.landmarks68],
        "trg_ros.sellion": positions[topology.sellion],
    }
    return {name: json.dumps(value) for name, value in values.items()}
