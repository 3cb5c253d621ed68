"""Reading numpy arrays, lists and dicts out of a pickle that nobody has to trust.

The unpickler knows stand-ins for the few names that numpy's pickles use and refuses every other one, so that
neither foreign code nor numpy's own unpickling runs on the file's data.
"""

import io
import math
import pickle
import struct
import zipfile
import zlib
from typing import Any, ClassVar

import numpy as np

# What a damaged pickle, zip archive or .npy makes its reader raise, here and elsewhere.
UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

_NUMBERS = ("b1", "f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in "1248"))


def read_pickle_entry(content: bytes, key: str) -> Any:
    """One entry of a pickled dict: a numpy array of numbers, or a plain Python value.

    :raises Exception: one of `UNREADABLE`: the pickle is damaged, asks for anything else or lacks the key.
    """
    loaded = RestrictedUnpickler(io.BytesIO(content)).load()
    if not isinstance(loaded, dict) or key not in loaded:
        raise pickle.UnpicklingError(f"no entry {key!r}")
    value = loaded[key]
    return value.to_numpy() if isinstance(value, PickledArray) else value


class _PickledDtype:
    """Stands in for `numpy.dtype`: numbers and booleans only."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if code not in _NUMBERS:
            raise pickle.UnpicklingError(f"numpy type {code!r} is not a plain number")
        self.code = code
        self.byte_order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = state[1]
        if self.byte_order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"numpy byte order {self.byte_order!r} is unknown")

    def to_numpy(self) -> np.dtype:
        return np.dtype(self.byte_order + self.code)


class PickledArray:
    """Stands in for `numpy.ndarray`: remembers its pickled state, and becomes an array when asked."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray:
        """:raises ValueError: when the pickled state is not that of an array of numbers."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise ValueError("an array without content")
        _, shape, dtype, fortran_order, content = self.state
        if not isinstance(dtype, _PickledDtype) or not isinstance(content, (bytes, bytearray)):
            raise ValueError("an array of something else than numbers")
        if not isinstance(shape, tuple) or math.prod(shape) * dtype.to_numpy().itemsize != len(content):
            raise ValueError(f"an array of shape {shape} with {len(content)} bytes")
        array = np.frombuffer(content, dtype.to_numpy())
        return array.reshape(shape, order="F" if fortran_order else "C").copy()


def _reconstruct(*_: Any) -> PickledArray:
    """Stands in for `numpy.core.multiarray._reconstruct`: an empty array, which gets its state next."""
    return PickledArray()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    """Stands in for `numpy.core.numeric._frombuffer`, which pickle protocol 5 uses."""
    array = PickledArray()
    array.__setstate__((1, shape, dtype, order == "F", content))
    return array


class RestrictedUnpickler(pickle.Unpickler):
    """Knows numpy arrays, under their old and new names, and no other class or function."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): _PickledDtype,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    }

    def find_class(self, module: str, name: str) -> Any:
        """:raises UnpicklingError: for everything but the pieces of a numpy array."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return self.ALLOWED[module, name]
