"""The resumable state of a run: written in one piece, so that a kill at any time loses at most one
interval."""

from copy import deepcopy
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from trg_ros.errors import CheckpointError

Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """Exponential moving average of a model's parameters and statistics.

    The decay warms up, so that the average follows the fast changes of the first steps.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.decay = decay
        self.model = deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = self.model.state_dict(), model.state_dict()
        floating = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floating], [theirs[n] for n in floating], 1 - decay)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write to a neighbour first, then rename."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """:raises CheckpointError: when the file is not a training state."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a usable training state ({error}); delete it to start again"
        ) from error
