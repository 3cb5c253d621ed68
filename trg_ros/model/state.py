"""Checking that a set of tensors is the state of the network one thinks it is."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from trg_ros.errors import CheckpointError
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.topology import Topology

_NAMES_IN_A_MESSAGE = 6


def expected_state(config: TRGConfig, topology: Topology) -> dict[str, Tensor]:
    """Names, shapes and types of the network's state, without its memory.

    :raises InputError: when the topology does not fit the configuration.
    """
    with torch.device("meta"):
        return dict(TRG(config, topology).state_dict())


def check_tensors(expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> None:
    """:raises CheckpointError: naming what is missing, extra, of another shape or type, or not finite."""
    shared = [name for name in expected if name in actual]
    complaints = {
        "missing": [name for name in expected if name not in actual],
        "extra": [name for name in actual if name not in expected],
        "of another shape": [
            f"{name} {_shape(actual[name])} instead of {_shape(expected[name])}"
            for name in shared
            if actual[name].shape != expected[name].shape
        ],
        "of another type": [
            f"{name} {actual[name].dtype}"
            for name in shared
            if actual[name].is_floating_point() != expected[name].is_floating_point()
        ],
        "with NaN or infinity": [name for name in shared if not bool(torch.isfinite(actual[name]).all())],
    }
    found = [f"{len(names)} {what}: {_join(names)}" for what, names in complaints.items() if names]
    if found:
        raise CheckpointError("not the tensors of this network; " + "; ".join(found))


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _join(names: Iterable[str]) -> str:
    names = list(names)
    hidden = len(names) - _NAMES_IN_A_MESSAGE
    return ", ".join(names[:_NAMES_IN_A_MESSAGE]) + (f" and {hidden} more" if hidden > 0 else "")
