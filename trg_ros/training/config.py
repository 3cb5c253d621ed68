"""What a training run is: one YAML file."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trg_ros.errors import InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.losses import LossWeights
from trg_ros.synthetic.augmentation import AugmentationConfig


@dataclass(frozen=True)
class DataConfig:
    """Where pictures come from. ``~`` is expanded.

    root: rendered data set to train on; validation: a held-out one, other seed. grow: take in shards that
    appear while training runs. threads: that make batches. backgrounds: folder of photographs or None.
    Patches are ``patch_size`` pixels square. hair_layers: how many are drawn to choose from.
    """

    root: str
    validation: str
    backgrounds: str | None = None
    photo_patches: int = 1200
    procedural_patches: int = 600
    patch_size: int = 256
    hair_layers: int = 200
    grow: bool = True
    threads: int = 1
    refresh_every: int = 500
    validation_samples: int = 1000


@dataclass(frozen=True)
class OptimisationConfig:
    """AdamW with warm-up and cosine decay.

    sizes: (fraction of the run, crop side in pixels) from which on crops have that size: small crops first,
    they cost less. focal: pixels per box side that the image loss is measured in. helpers: extra processes
    that add gradients (one step stale; with any the run is no longer bit-reproducible); for the CPU only.
    device: "cpu", "cuda" or "auto". relative_depth: weight of the relative depth error.
    regressor_rate: learning rate of the regressors relative to the others'.
    """

    steps: int = 20000
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 300
    weight_decay: float = 1e-3
    gradient_clip: float = 5.0
    ema_decay: float = 0.999
    sizes: tuple[tuple[float, int], ...] = ((0.0, 64),)
    focal: float = 40.0
    threads: int = 1
    helpers: int = 0
    bfloat16: bool = True
    device: str = "cpu"
    relative_depth: float = 0.0
    regressor_rate: float = 0.08


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run. output: folder of the resumable state, the log and the finished checkpoint."""

    name: str
    output: str
    data: DataConfig
    model: TRGConfig
    seed: int = 1
    checkpoint_every: int = 500
    evaluate_every: int = 2000
    init: str | None = None
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossWeights = field(default_factory=LossWeights)

    def crop_size(self, step: int) -> int:
        """Side in pixels of the crops of a step."""
        fraction = step / self.optimisation.steps
        return [size for start, size in self.optimisation.sizes if fraction >= start][-1]


def load_training_config(path: Path | str) -> TrainingConfig:
    """Read a YAML file.

    :raises InputError: when the file is missing, not YAML, or has an unknown, missing or unusable field.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"can't read the training configuration {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} must hold a mapping with name, output, data and model")
    return training_config_from_dict(raw, str(path))


def training_config_from_dict(raw: dict[str, Any], where: str = "training configuration") -> TrainingConfig:
    """The same from plain values."""
    values = dict(raw)
    for key, section in (
        ("data", DataConfig),
        ("optimisation", OptimisationConfig),
        ("augmentation", AugmentationConfig),
        ("loss", LossWeights),
    ):
        if key in values:
            values[key] = _build(section, values[key], f"{where}: {key}")
    if "model" in values:
        values["model"] = TRGConfig.from_dict(values["model"])
    config = _build(TrainingConfig, values, where)
    sizes = config.optimisation.sizes
    if not sizes or sizes[0][0] != 0.0 or any(not 32 <= size <= 512 for _, size in sizes):
        raise InputError(
            f"{where}: optimisation.sizes must start at fraction 0.0 with sides of 32..512 px, not {sizes!r}"
        )
    return config


def _build(kind: Any, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{where} must be a mapping, not {values!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InputError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(fields)}")
    missing = [
        name
        for name, f in fields.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where}: field {missing[0]!r} is missing")
    return kind(**{key: _freeze(value) for key, value in values.items()})


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value
