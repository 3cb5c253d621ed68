"""Configuration of the paper's training: one YAML file with `recipe: paper`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trg_ros.datasets.augmentation import Recipe
from trg_ros.errors import InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.losses import LossWeights
from trg_ros.training.config import _build

RECIPE = "paper"


@dataclass(frozen=True)
class SourceConfig:
    """A data set, as `open_dataset` takes it.

    first, every    of its first so many samples only every so many.
    distance        metres; only heads from the first number up to the second; rendered heads only.
    """

    name: str
    root: str
    split: str = "train"
    boxes: str | None = None
    assets: str | None = None
    every: int = 1
    first: int | None = None
    distance: tuple[float, float] | None = None


@dataclass(frozen=True)
class PaperConfig:
    """A run.

    data            joined; shares says how often each is drawn (null: every sample alike).
    backbone        file of torchvision's resnet18, or a checkpoint of ours, to start from; null: random.
    batch_size      samples in a step, in micro-batches of micro_batch that fit one device.
    regressor_rate  learning rate of the regressors relative to the others'; small networks want less than 1.
    steps           instead of epochs; then drop_after counts in `epochs` all the same.
    drop_after      epochs after which the learning rate is multiplied by drop_factor.
    workers         processes that make batches, for each training process.
    """

    name: str
    output: str
    data: tuple[SourceConfig, ...]
    model: TRGConfig = field(default_factory=TRGConfig)
    shares: tuple[float, ...] | None = None
    validation: SourceConfig | None = None
    backbone: str | None = None
    epochs: float = 30
    steps: int | None = None
    batch_size: int = 256
    micro_batch: int = 64
    learning_rate: float = 1e-4
    regressor_rate: float = 1.0
    drop_after: tuple[float, ...] = (20,)
    drop_factor: float = 0.1
    bfloat16: bool = False
    workers: int = 8
    seed: int = 1
    checkpoint_every: int = 2000
    augmentation: Recipe = field(default_factory=Recipe)
    loss: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        """:raises InputError: for numbers that don't fit each other."""
        if self.batch_size < 1 or self.micro_batch < 1 or self.batch_size % self.micro_batch:
            raise InputError(
                f"batch_size {self.batch_size} must be a multiple of micro_batch {self.micro_batch}"
            )
        if not self.data:
            raise InputError("data must name at least one data set")

    @property
    def micro_batches(self) -> int:
        """In a batch."""
        return self.batch_size // self.micro_batch


def read_recipe(path: Path | str) -> dict[str, Any] | None:
    """The YAML's values if it says `recipe: paper`, else None.

    :raises InputError: when the file can't be read.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"can't read the training configuration {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not isinstance(raw, dict) or "recipe" not in raw:
        return None
    if raw["recipe"] != RECIPE:
        raise InputError(f"{path}: recipe {raw['recipe']!r} is unknown; known is {RECIPE}")
    return {name: value for name, value in raw.items() if name != "recipe"}


def paper_config_from_dict(raw: dict[str, Any], where: str = "training configuration") -> PaperConfig:
    """:raises InputError: for an unknown, missing or unusable field, naming it."""
    values = dict(raw)
    sources = values.get("data", [])
    if not isinstance(sources, list):
        raise InputError(f"{where}: data must be a list of data sets")
    values["data"] = tuple(_build(SourceConfig, source, f"{where}: data") for source in sources)
    for key, section in (("validation", SourceConfig), ("augmentation", Recipe), ("loss", LossWeights)):
        if values.get(key) is not None:
            values[key] = _build(section, values[key], f"{where}: {key}")
    if "model" in values:
        values["model"] = TRGConfig.from_dict(values["model"])
    return _build(PaperConfig, values, where)
