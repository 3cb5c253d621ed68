"""How sure a pose is: a few numbers about a look at a head -> the covariance of the pose's error.

The head is trained after the network and beside it (`trg_ros.training.uncertainty`); poses don't change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trg_ros.errors import CheckpointError
from trg_ros.geometry import library_of

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

#: The errors' unit: translation x y z over the depth, rotation about x y z in radians.
RESIDUAL_UNIT = np.array([0.02, 0.02, 0.06, 0.1, 0.1, 0.1])
INPUTS = 26  # of `trg_ros.uncertainty.uncertainty_inputs`
NUMBERS = 21  # 6 standard deviations and 15 correlations
_LEAST_LOG, _MOST_LOG = -3.0, 3.0  # of a standard deviation in these units
_DIAGONAL, _BELOW = np.arange(6), np.tril_indices(6, -1)


def pose_factor(numbers: Array) -> Array:
    """Lower-triangular factors L (N, 6, 6) of covariances L L^T, from any numbers (N, 21), numpy or torch.

    The first six are logarithms of the standard deviations in RESIDUAL_UNIT; the rest make the correlations,
    row by row, bounded so that no number makes a covariance singular.
    """
    library = library_of(numbers)
    rows = library.zeros((len(numbers), 6, 6), dtype=numbers.dtype)
    rows[:, _DIAGONAL, _DIAGONAL] = 1.0
    rows[:, _BELOW[0], _BELOW[1]] = library.tanh(numbers[:, 6:])
    rows = rows / (rows * rows).sum(-1)[..., None] ** 0.5
    unit = library.asarray(RESIDUAL_UNIT, dtype=numbers.dtype)
    deviation = library.exp(numbers[:, :6].clip(_LEAST_LOG, _MOST_LOG)) * unit
    return rows * deviation[:, :, None]


@dataclass(frozen=True, eq=False)
class UncertaintyHead:
    """A perceptron with one hidden layer of hyperbolic tangents, in numpy: it runs once per frame, on few
    numbers.

    hidden_weight (H, 26), hidden_bias (H,), output_weight (21, H), output_bias (21,): float32.
    """

    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output_weight: NDArray[np.float32]
    output_bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        """:raises CheckpointError: for shapes that don't fit each other, or numbers that are not finite."""
        hidden = self.hidden_bias.size
        shapes = [getattr(self, entry.name).shape for entry in dataclasses.fields(self)]
        if shapes != [(hidden, INPUTS), (hidden,), (NUMBERS, hidden), (NUMBERS,)]:
            raise CheckpointError(f"the uncertainty head's tensors don't fit each other: {shapes}")
        if not all(np.isfinite(getattr(self, entry.name)).all() for entry in dataclasses.fields(self)):
            raise CheckpointError("the uncertainty head has NaN or infinity")

    def __call__(self, inputs: NDArray) -> NDArray[np.float64]:
        """(N, 26) -> factors (N, 6, 6), see :func:`pose_factor`."""
        hidden = np.tanh(inputs @ self.hidden_weight.T + self.hidden_bias)
        return pose_factor((hidden @ self.output_weight.T + self.output_bias).astype(np.float64))

    def scaled(self, factors: NDArray) -> UncertaintyHead:
        """The same with standard deviations ``factors`` (6,) times as large."""
        bias = self.output_bias.copy()
        bias[:6] += np.log(factors)
        return dataclasses.replace(self, output_bias=bias)

    def to_tensors(self) -> dict[str, NDArray[np.float32]]:
        """The tensors by name, as :meth:`from_tensors` takes them."""
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> UncertaintyHead:
        """:raises CheckpointError: when they are not those of such a head."""
        names = {entry.name for entry in dataclasses.fields(cls)}
        if set(tensors) != names:
            raise CheckpointError(f"an uncertainty head has {sorted(names)}, not {sorted(tensors)}")
        return cls(**{name: np.asarray(value, np.float32) for name, value in tensors.items()})
