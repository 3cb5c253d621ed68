"""The paper's release as a checkpoint: its state dict and side files, read as data that can't run code."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trg_ros.checkpoint import HEAD_CONVENTION, Checkpoint, CheckpointInfo, StrPath, save_checkpoint
from trg_ros.checkpoint_file import file_digest
from trg_ros.errors import CheckpointError, InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.state import Shape, check_tensors, expected_state
from trg_ros.model.topology import Topology
from trg_ros.plain_pickle import UNREADABLE, read_pickle_entry

SIDE_FILES = ("arkit_subsample.pkl", "init_vtx_cam.pkl", "kpt_ind.npy", "triangles.npy")
_MAX_SIDE_FILE_BYTES = 16 * 2**20
_SAME_FACE_TOLERANCE = 1e-4  # metres


@dataclass(frozen=True, eq=False)
class Release:
    """The release's network under our tensor names, its topology, and the files' SHA-256 by name."""

    weights: dict[str, NDArray[Any]]
    topology: Topology
    sources: dict[str, str]


def import_release(state_dict_path: StrPath, assets_dir: StrPath, out_path: StrPath) -> Path:
    """Turn the paper's released weights into one of our checkpoints, in full precision.

    :param state_dict_path: the release's `state_dict.bin`.
    :param assets_dir: folder with its side files: arkit_subsample.pkl, init_vtx_cam.pkl, kpt_ind.npy and
        triangles.npy.
    :raises CheckpointError: when a file is missing, damaged or not the release's; nothing is written then.
    """
    release = read_release(Path(state_dict_path), Path(assets_dir))
    info = CheckpointInfo(
        name="TRG-Release",
        origin_convention=f"{HEAD_CONVENTION}; origin: ARKit's face anchor, near the centre of the head",
        training_data="as published by TRG's authors: ARKitFace, possibly with 300W-LP",
        license="TRG-Release is MIT; its training sets are licensed for research only, ask their owners",
        provenance=dict(release.sources),
    )
    return save_checkpoint(out_path, Checkpoint(TRGConfig(), release.topology, info, release.weights))


def read_release(state_dict_path: Path, assets_dir: Path) -> Release:
    """Read and check everything of the release that a checkpoint needs.

    :raises CheckpointError: naming the file, and the tensor, that is missing, damaged or not the release's.
    """
    assets = {name: _read_bytes(assets_dir / name) for name in SIDE_FILES}
    subsample = _from_pickle(assets_dir / SIDE_FILES[0], assets[SIDE_FILES[0]], "1220_to_305")
    initial_face = _from_pickle(assets_dir / SIDE_FILES[1], assets[SIDE_FILES[1]], "t_vtx_1220")
    landmarks68 = _from_npy(assets_dir / SIDE_FILES[2], assets[SIDE_FILES[2]])
    triangles = _from_npy(assets_dir / SIDE_FILES[3], assets[SIDE_FILES[3]])
    config = TRGConfig()
    try:
        topology = Topology(triangles, np.asarray(subsample), landmarks68)
        expected = expected_state(config, topology)
    except (InputError, ValueError) as error:
        raise CheckpointError(f"{assets_dir}: not the side files of TRG's release: {error}") from error
    released = _load_state_dict(state_dict_path)
    try:
        state = _rename(released, expected, config)
    except CheckpointError as error:
        raise CheckpointError(f"{state_dict_path}: {error}") from error
    _check_initial_face(assets_dir / SIDE_FILES[1], initial_face, state["initial_landmarks"])
    files = {state_dict_path: file_digest(state_dict_path)}
    files |= {assets_dir / name: hashlib.sha256(content).hexdigest() for name, content in assets.items()}
    weights = {name: value.numpy() for name, value in state.items()}
    return Release(weights, topology, {f"sha256 of {path.name}": digest for path, digest in files.items()})


def tensor_names(config: TRGConfig) -> Iterator[tuple[str, str]]:
    """Pairs of (name in the release, our name), but for the buffers that the release stores several times."""

    def norm(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"{theirs}.{part}", f"{ours}.{part}"

    def conv_norm(conv: str, bn: str, ours: str) -> Iterator[tuple[str, str]]:
        yield f"{conv}.weight", f"{ours}.conv.weight"
        yield from norm(bn, f"{ours}.norm")

    def affine(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
        yield f"{theirs}.weight", f"{ours}.weight"
        yield f"{theirs}.bias", f"{ours}.bias"

    root = "feature_extractor"
    yield from conv_norm(f"{root}.conv1", f"{root}.bn1", "backbone.stem")
    for stage, blocks in enumerate(config.backbone_blocks):
        for block in range(blocks):
            theirs, ours = f"{root}.layer{stage + 1}.{block}", f"backbone.stages.{stage}.{block}"
            yield from conv_norm(f"{theirs}.conv1", f"{theirs}.bn1", f"{ours}.first")
            yield from conv_norm(f"{theirs}.conv2", f"{theirs}.bn2", f"{ours}.second")
            if stage > 0 and block == 0:
                yield from conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
    for level in range(len(config.deconv_widths)):
        first = 3 * level  # convolution, normalisation, activation
        yield from conv_norm(f"deconv_layers.{first}", f"deconv_layers.{first + 1}", f"upsamplers.{level}")
    for iteration in range(config.iterations):
        for layer in range(len(config.point_feature_widths)):
            yield from affine(
                f"laf_extractor.{iteration}.conv{layer}", f"point_features.{iteration}.layers.{layer}"
            )
        for theirs, ours in (("fc1", "hidden.0"), ("fc2", "hidden.1"), ("decshape", "landmark_head")):
            yield from affine(f"regressor.{iteration}.{theirs}", f"regressors.{iteration}.{ours}")
        yield from affine(f"regressor.{iteration}.decpose", f"regressors.{iteration}.pose_head")
    yield from affine("predict_68_lmk.0", "heatmap_head.conv")


def _rename(released: dict[str, Tensor], expected: dict[str, Shape], config: TRGConfig) -> dict[str, Tensor]:
    names = dict(tensor_names(config))
    released_expected = {theirs: expected[ours] for theirs, ours in names.items()}
    released_expected["points_grid"] = (1, 2, config.grid_size**2)
    regressors = [f"regressor.{iteration}" for iteration in range(config.iterations)]
    for regressor in regressors:
        released_expected[f"{regressor}.init_face"] = (1, config.num_landmarks, 3)
        released_expected[f"{regressor}.init_head_pose"] = (1, 9)
    check_tensors(released_expected, {name: value.numpy() for name, value in released.items()})
    state = {ours: released[theirs] for theirs, ours in names.items()}
    for theirs, ours in (("init_face", "initial_landmarks"), ("init_head_pose", "initial_pose")):
        copies = [released[f"{regressor}.{theirs}"][0] for regressor in regressors]
        for regressor, copy in zip(regressors, copies, strict=True):
            if not torch.equal(copy, copies[0]):
                raise CheckpointError(f"{regressor}.{theirs} differs from that of {regressors[0]}")
        state[ours] = copies[0]
    line = torch.linspace(-1, 1, config.grid_size)
    if not torch.allclose(released["points_grid"][0].T.float(), torch.cartesian_prod(line, line), atol=1e-5):
        raise CheckpointError(
            f"points_grid is not the {config.grid_size} x {config.grid_size} grid on [-1, 1]"
        )
    # Clones, because entries of a state dict may share storage, which a checkpoint can't.
    return {
        name: value.float().clone() if value.is_floating_point() else value for name, value in state.items()
    }


def _check_initial_face(path: Path, initial_face: Any, initial_landmarks: Tensor) -> None:
    expected = tuple(initial_landmarks.shape)
    if (
        not isinstance(initial_face, np.ndarray)
        or initial_face.shape != expected
        or initial_face.dtype.kind != "f"
    ):
        raise CheckpointError(
            f"{path}: t_vtx_1220 must be {expected[0]} x {expected[1]} floating point numbers"
        )
    difference = float(np.abs(initial_face - initial_landmarks.numpy()).max())
    if not difference <= _SAME_FACE_TOLERANCE:
        raise CheckpointError(
            f"{path}: t_vtx_1220 is another face than the weights' init_face (up to {difference:.3g} m apart)"
        )


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_SIDE_FILE_BYTES:
            raise CheckpointError(
                f"{path}: {path.stat().st_size} bytes are too many for a side file of TRG's release"
            )
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: can't be read ({error.strerror}); --assets needs {', '.join(SIDE_FILES)}"
        ) from error


def _load_state_dict(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        # torch's own words would have the file loaded in a way that runs what is in it
        raise CheckpointError(f"{path}: not a state dict of tensors, or a damaged one") from error
    is_state = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )
    if not is_state:
        raise CheckpointError(f"{path}: holds {type(state).__name__}, not a dict of named tensors")
    return dict(state)


def _from_npy(path: Path, content: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: not a plain .npy array, or a damaged one ({error})") from error


def _from_pickle(path: Path, content: bytes, key: str) -> Any:
    try:
        return read_pickle_entry(content, key)
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path}: not a pickle of arrays, lists and dicts, or damaged ({error})"
        ) from error
