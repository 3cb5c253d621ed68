"""What the finder's network looks like, and what its map says; no torch here.

The map has a stride of 8 px. Its 14 channels per cell: heat (logit), box centre x, y relative to the cell's
centre and the five points likewise, all in units of the box side; and log(side / 8 px).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from trg_ros.errors import InputError

STRIDE = 8
#: Image sides must be multiples of this: the coarsest features' stride.
ALIGNMENT = 32
#: Channel numbers of the output map.
HEAT, CENTER, LOG_SIDE, POINTS = 0, slice(1, 3), 3, slice(4, 14)
CHANNELS = 14

#: Of pixel values, before the first layer.
MEAN, SCALE = 118.0, 1 / 64.0


@dataclass(frozen=True)
class FinderConfig:
    """Widths of the network.

    widths: channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image. depths: residual blocks there.
    neck: channels of the merged maps.
    """

    widths: tuple[int, ...] = (16, 32, 64, 104, 160)
    depths: tuple[int, ...] = (0, 1, 2, 2, 2)
    neck: int = 64

    def __post_init__(self) -> None:
        good = len(self.widths) == len(self.depths) == 5 and all(
            isinstance(n, int) and 0 <= n <= 1024 for n in (*self.widths, *self.depths, self.neck)
        )
        if not good or min(*self.widths, self.neck) < 1:
            raise InputError(
                f"finder configuration {asdict(self)}: widths and depths need five whole numbers each, "
                "widths and neck 1 to 1024"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FinderConfig:
        """:raises InputError: for unknown or missing fields or impossible values."""
        names = {entry.name for entry in fields(cls)}
        if set(values) != names or not all(isinstance(values[n], list) for n in ("widths", "depths")):
            raise InputError(f"finder configuration must have the fields {sorted(names)}, not {values!r}")
        return cls(tuple(values["widths"]), tuple(values["depths"]), values["neck"])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors of a network whose batch normalisation is folded."""
        return dict(self._shapes())

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        widths, neck = self.widths, self.neck
        yield from _layer("stem.0", widths[0], 3, 3)
        for level in range(1, 5):
            before, kernel = widths[level - 1], kernel_at(level)
            for block in range(1 + self.depths[level]):
                yield from _separable(f"stages.{level - 1}.{block}", before, widths[level], kernel)
                before = widths[level]
        for k, width in enumerate(widths[2:]):
            yield from _layer(f"lateral.{k}.0", neck, width, 1)
        for name in ("merge.0", "merge.1", "head.0"):
            yield from _separable(name, neck, neck, 3)
        yield from _layer("head.1", CHANNELS, neck, 1)


def kernel_at(level: int) -> int:
    """Side of the depthwise kernels that lead to, and stay at, 1/2 ** (level + 1) of the image."""
    return 5 if level >= 3 else 3


def _layer(name: str, outputs: int, inputs: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs, kernel, kernel)
    yield f"{name}.bias", (outputs,)


def _separable(name: str, inputs: int, outputs: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _layer(f"{name}.spatial.0", inputs, 1, kernel)
    yield from _layer(f"{name}.mix.0", outputs, inputs, 1)
