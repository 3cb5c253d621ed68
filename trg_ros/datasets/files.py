"""Reading the files of data sets, with errors that name the file and say what it should have been."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trg_ros.errors import DatasetError, InputError
from trg_ros.media.file_headers import APP1, jpeg_segments, size_in_header
from trg_ros.media.photo import read_photo

_HEADER_BYTES = 1 << 16

Fail = Callable[[str], DatasetError]


def image_size(path: Path, fail: Fail) -> tuple[int, int]:
    """Width and height of a picture file; of JPEG and PNG only the header is read.

    :param fail: makes the error that is raised when the file is missing or not a picture.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise fail(f"can't read {path}: {error.strerror or error}") from error
    may_be_turned = any(marker == APP1 for marker, _, _ in jpeg_segments(header))  # by its EXIF data
    size = None if may_be_turned else size_in_header(header)
    if size is None:
        height, width = _read(path, fail).shape[:2]
        size = (width, height)
    return size


def image_reader(path: Path, size: tuple[int, int], fail: Fail) -> Callable[[], NDArray[np.uint8]]:
    """A function that reads the picture (H, W, 3) uint8 BGR, and fails if it is not `size` (width,
    height)."""

    def read() -> NDArray[np.uint8]:
        image = _read(path, fail)
        if image.shape[1::-1] != size:
            found = f"{image.shape[1]}x{image.shape[0]}"
            raise fail(f"{path} is {found} px, its labels are for {size[0]}x{size[1]} px")
        return image

    return read


def read_arrays(
    path: Path, shapes: dict[str, tuple[int | None, ...]], fail: Fail
) -> dict[str, NDArray[np.float64]]:
    """Named arrays of a .npz as float64; None in a shape fits any length."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in shapes if name not in archive.files]
            if missing:
                raise fail(
                    f"{path} has no array {missing[0]!r}; it has {', '.join(archive.files) or 'nothing'}"
                )
            arrays = {name: np.asarray(archive[name], np.float64) for name in shapes}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, DatasetError):
            raise
        raise fail(f"can't read {path}: {_reason(error)}") from error
    for name, shape in shapes.items():
        check_array(arrays[name], shape, f"{path}: {name}", fail)
    return arrays


def read_array(path: Path, fail: Fail) -> NDArray[Any]:
    """A .npy file."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise fail(f"can't read {path}: {_reason(error)}") from error


def read_numbers(path: Path, counts: Sequence[int], fail: Fail) -> list[NDArray[np.float64]]:
    """A text file of numbers separated by blanks and lines, in groups of `counts` numbers."""
    try:
        numbers = np.array(path.read_text(encoding="ascii").split(), np.float64)
    except (OSError, ValueError) as error:
        raise fail(f"can't read {path}: {_reason(error)}") from error
    if len(numbers) != sum(counts) or not np.isfinite(numbers).all():
        raise fail(f"{path} has {len(numbers)} numbers, expected {sum(counts)} finite ones")
    return np.split(numbers, np.cumsum(counts)[:-1])


def read_lines(path: Path, fail: Fail) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"can't read {path}: {_reason(error)}") from error
    return [line.strip() for line in lines if line.strip()]


def check_array(array: NDArray[Any], shape: tuple[int | None, ...], what: str, fail: Fail) -> None:
    """Whether an array is finite and of a shape; None fits any length but 0."""
    fits = array.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, array.shape, strict=True))
    if not fits or not array.size:
        raise fail(
            f"{what} has shape {array.shape}, expected {tuple('*' if s is None else s for s in shape)}"
        )
    if not np.isfinite(array).all():
        raise fail(f"{what} contains NaN or infinity")


def check_rotation(rotation: NDArray[np.float64], what: str, fail: Fail) -> None:
    """Whether (3, 3) is a rotation, within the rounding of text files."""
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > 1e-3 or np.linalg.det(rotation) < 0:
        raise fail(
            f"{what} is not a rotation (R R^T - I up to {error:.2g}, det {np.linalg.det(rotation):.3f})"
        )


def _read(path: Path, fail: Fail) -> NDArray[np.uint8]:
    try:
        return read_photo(path)
    except InputError as error:
        raise fail(str(error)) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
