"""One self-contained file: weights, architecture, topology, conventions, provenance and measured errors.

A checkpoint is a .safetensors file. Its tensors are the network's state (`model.*`), the topology
(`topology.*`) and, where there is one, the uncertainty head (`uncertainty.*`); its metadata has one entry,
`trg_ros`, a JSON object with the format version, the configuration, the information, a digest of the tensors
and, where it was calibrated, the activations' peaks. Nothing in it can run code when it is loaded.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors.numpy import save

from trg_ros.checkpoint_file import Tensors, digest, read_tensors, write_atomically
from trg_ros.errors import CheckpointError, InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.state import check_tensors, expected_state
from trg_ros.model.topology import Topology
from trg_ros.model.uncertainty import UncertaintyHead
from trg_ros.paths import user_path

if TYPE_CHECKING:
    import torch

    from trg_ros.model.network import TRG

StrPath = str | os.PathLike[str]

FORMAT_VERSION = 1
METADATA_KEY = "trg_ros"
_PEAKS, _DIGEST = "activation_peaks", "sha256"
DEFAULT_NAME = "default.safetensors"
WEIGHTS_DIRECTORY = Path(__file__).parent / "weights"

HEAD_CONVENTION = (
    "head frame: x towards the person's left, y towards the chin, z from the nose into the head, metres; "
    "a head that looks straight into the camera has no rotation"
)
CROP_CONVENTION = (
    "square crop of S x S px RGB from a box of side b: crop pixel i samples left + i*b/(S-1), zero outside "
    "the image; box = 1.5 x the larger extent of the 68 landmarks, around the middle of their extent; "
    "/255, ImageNet mean and std"
)


@dataclass(frozen=True)
class CheckpointInfo:
    """Where the weights come from and what they may be expected to do.

    name, version       which weights these are.
    origin_convention   where the head frame's origin is.
    crop_convention     how boxes and crops were made in training.
    training_data       what they were trained on.
    license             of the weights.
    provenance          how they were made: commands, source files and their hashes.
    measured_errors     results on held-out data; units are in the keys.
    created             ISO 8601 date and time, UTC.
    """

    name: str
    version: str = "1"
    origin_convention: str = HEAD_CONVENTION
    crop_convention: str = CROP_CONVENTION
    training_data: str = ""
    license: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    measured_errors: dict[str, Any] = field(default_factory=dict)
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """By field, as :meth:`from_dict` takes it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointInfo:
        """:raises InputError: naming a field that is unknown, missing or of another type."""
        types: dict[str, type] = {entry.name: str for entry in dataclasses.fields(cls)}
        types |= {"provenance": dict, "measured_errors": dict}
        for name, value in values.items():
            if name not in types:
                raise InputError(f"checkpoint information has an unknown field {name!r}")
            if not isinstance(value, types[name]):
                kind = types[name].__name__
                raise InputError(f"checkpoint information: {name} must be a {kind}, not {value!r}")
        if not values.get("name"):
            raise InputError("checkpoint information lacks a name")
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything needed to run a TRG network, and to know what it is. Only building it needs torch.

    weights           the network's state; torch tensors on the CPU are taken as well.
    uncertainty       says how sure each pose is; without it `measured_errors` speak for all poses alike.
    activation_peaks  by convolution: what `trg_ros.model.quantization` needs to make integers of its input.
    """

    config: TRGConfig
    topology: Topology
    info: CheckpointInfo
    weights: Tensors
    uncertainty: UncertaintyHead | None = None
    activation_peaks: dict[str, float] | None = None

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(value) for name, value in self.weights.items()}
        object.__setattr__(self, "weights", arrays)

    @property
    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights as torch tensors, in the same memory."""
        from torch import from_numpy

        return {name: from_numpy(value) for name, value in self.weights.items()}

    def build_model(self, dtype: torch.dtype | None = None) -> TRG:
        """The network in evaluation mode, on the CPU.

        :param dtype: of its layers, None is float32; half precision is never for geometry.
        :raises CheckpointError: when the tensors are not those of the configuration.
        """
        import torch

        from trg_ros.model.network import TRG

        _check_state(self.config, self.topology, self.weights)
        with torch.device("meta"):  # skip the initialisation of weights that are about to be replaced
            model = TRG(self.config, self.topology)
        model.load_state_dict({name: value.clone() for name, value in self.state_dict.items()}, assign=True)
        model.eval()
        return model.double() if dtype == torch.float64 else model.set_compute_dtype(dtype or torch.float32)


def save_checkpoint(path: StrPath, checkpoint: Checkpoint, dtype: DTypeLike = np.float32) -> Path:
    """Write a checkpoint, all of it or nothing.

    :param dtype: of the stored weight matrices, float32 or float16; biases, statistics and the initial
        state stay float32.
    :raises CheckpointError: when the tensors don't fit the configuration or overflow in half precision,
        or the file can't be written.
    """
    _check_state(checkpoint.config, checkpoint.topology, checkpoint.weights)
    tensors = {f"model.{name}": _stored(name, value, dtype) for name, value in checkpoint.weights.items()}
    for part in ("triangles", "sampled", "landmarks68", "flip"):
        indices = getattr(checkpoint.topology, part)
        if indices is not None:
            tensors[f"topology.{part}"] = indices.astype(np.int32)
    if checkpoint.uncertainty is not None:
        tensors |= {f"uncertainty.{n}": value for n, value in checkpoint.uncertainty.to_tensors().items()}
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    metadata = {
        "format_version": FORMAT_VERSION,
        "config": checkpoint.config.to_dict(),
        "info": dataclasses.replace(checkpoint.info, created=checkpoint.info.created or now).to_dict(),
        _DIGEST: digest(tensors),
    }
    if checkpoint.activation_peaks:
        metadata[_PEAKS] = checkpoint.activation_peaks
    try:
        text = json.dumps(metadata, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint information must be JSON with finite numbers: {error}") from error
    return write_atomically(Path(path), save(tensors, {METADATA_KEY: text}))


def load_checkpoint(path: StrPath) -> Checkpoint:
    """Read and check a checkpoint; its tensors come as float32.

    :raises CheckpointError: when the file is missing, damaged, of another kind or format, or its tensors are
        not those of its configuration (naming them).
    :raises InputError: for the home folder of a user who isn't there.
    """
    if not isinstance(path, (str, os.PathLike)):
        kind = type(path).__name__
        raise CheckpointError(f"checkpoint is a {kind}: expected the path of a .safetensors file")
    path = user_path(path)
    metadata, tensors = read_tensors(path)
    description = _parse_metadata(path, metadata)
    try:
        config = TRGConfig.from_dict(description["config"])
        info = CheckpointInfo.from_dict(description["info"])
        peaks = _read_peaks(description)
        topology = _read_topology(tensors)
        uncertainty = _part(tensors, "uncertainty.")
        head = UncertaintyHead.from_tensors(uncertainty) if uncertainty else None
        weights = {
            name.removeprefix("model."): value.astype(np.float32) if value.dtype.kind == "f" else value
            for name, value in tensors.items()
            if not name.startswith(("topology.", "uncertainty."))
        }
        _check_state(config, topology, weights)
        if _DIGEST in description and description[_DIGEST] != digest(tensors):
            raise CheckpointError("damaged, its tensors are not those that were written: get it again")
    except (InputError, CheckpointError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(config, topology, info, weights, head, peaks)


def lossless_dtype(weights: Tensors) -> DTypeLike:
    """The smaller one of the types of `save_checkpoint` that loses nothing of a network's state."""
    try:
        same = all(np.array_equal(_stored(name, value, np.float16), value) for name, value in weights.items())
    except CheckpointError:
        return np.float32
    return np.float16 if same else np.float32


def default_checkpoint_path() -> Path:
    """The packaged weights: `default.safetensors`, or the only file there is.

    :raises CheckpointError: when the package has none.
    """
    files = sorted(WEIGHTS_DIRECTORY.glob("*.safetensors"))
    chosen = [file for file in files if file.name == DEFAULT_NAME] or files
    if len(chosen) != 1:
        raise CheckpointError(
            f"{len(chosen) or 'no'} packaged weights in {WEIGHTS_DIRECTORY}; name a checkpoint file instead"
        )
    return chosen[0]


def _check_state(config: TRGConfig, topology: Topology, weights: Tensors) -> None:
    try:
        expected = expected_state(config, topology)
    except InputError as error:
        raise CheckpointError(str(error)) from error
    check_tensors(expected, weights)


def _stored(name: str, value: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    if value.dtype.kind != "f":
        return np.require(value, requirements="C")
    reduce = value.ndim > 1 and not name.startswith("initial_")
    with np.errstate(over="ignore"):
        stored = np.require(value, dtype if reduce else np.float32, "C")
    if not np.isfinite(stored).all():
        raise CheckpointError(f"{name} has values beyond the range of {stored.dtype}; store it as float32")
    return stored


def _parse_metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path}: a safetensors file, but not a trg_ros checkpoint (no metadata {METADATA_KEY!r}); "
            "convert the paper's weights with `trg-headpose import-release`"
        )
    try:
        description = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata is not valid JSON ({error})") from error
    if not isinstance(description, dict):
        raise CheckpointError(f"{path}: its metadata must be a JSON object, not {type(description).__name__}")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: checkpoint format {version!r}; this trg_ros reads {FORMAT_VERSION}, update one of them"
        )
    for part in ("config", "info"):
        if not isinstance(description.get(part), dict):
            raise CheckpointError(f"{path}: its metadata has no {part!r}")
    return description


def _read_peaks(description: Mapping[str, Any]) -> dict[str, float] | None:
    peaks = description.get(_PEAKS)
    if peaks is None:
        return None
    if not isinstance(peaks, dict):
        raise CheckpointError(f"its {_PEAKS} must be a JSON object, not {type(peaks).__name__}")
    for layer, peak in peaks.items():
        if isinstance(peak, bool) or not isinstance(peak, (int, float)) or not 0 < peak < np.inf:
            raise CheckpointError(f"its {_PEAKS}: {layer} must be a number above 0, not {peak!r}")
    return {layer: float(peak) for layer, peak in peaks.items()}


def _read_topology(tensors: Tensors) -> Topology:
    parts = _part(tensors, "topology.")
    missing = sorted({"triangles", "sampled", "landmarks68"} - parts.keys())
    unknown = sorted(parts.keys() - {"triangles", "sampled", "landmarks68", "flip"})
    if missing or unknown:
        raise CheckpointError(f"its topology lacks {missing} and has unknown {unknown}")
    return Topology(**parts)


def _part(tensors: Tensors, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
