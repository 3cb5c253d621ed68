"""Files of tensors: read, written all or nothing, and recognised as what was written."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from trg_ros.errors import CheckpointError

Tensors = Mapping[str, NDArray[Any]]


def digest(tensors: Tensors) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {array.dtype} {array.shape} ".encode())
        total.update(array.data)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file of any size and kind."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a file, all of it or nothing. :raises CheckpointError: when it can't be written."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written ({error.strerror})") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def read_tensors(path: Path) -> tuple[dict[str, str], Tensors]:
    """A safetensors file's metadata and arrays. :raises CheckpointError: for anything else."""
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no such file"
            raise CheckpointError(f"{path}: {what}; expected a .safetensors file")
    except OSError as error:  # in a folder that this user can't look into
        raise CheckpointError(f"{path}: can't be read ({error.strerror})") from error
    try:
        with safe_open(path, framework="numpy") as file:
            names = sorted(file.keys())
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or a damaged one ({error})") from error
