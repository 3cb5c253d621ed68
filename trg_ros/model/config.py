"""What makes one TRG differ from another. The defaults are the network of the paper's release."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from trg_ros.errors import InputError

# RGB in [0, 1]; the normalisation of the ImageNet models that the backbone starts from.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
#: The mean colour as bytes, RGB.
MEAN_COLOUR = tuple(round(255 * channel) for channel in IMAGE_MEAN)

POSE_SIZE = 9  # a 6D rotation and s, tx, ty
POSE_PARAMETERS = ("correction", "direct", "camera_offset", "local_to_global")  # see `trg_ros.model.pose`
ACTIVATIONS = ("none", "relu", "leaky_relu", "gelu", "silu")
_CHOICES = {
    "stem": ("resnet", "compact"),
    "point_activation": ACTIVATIONS,
    "regressor_activation": ACTIVATIONS,
    "sampling": ("landmarks", "grid"),
    "box_feature": ("full", "center", "none"),
    "translation": POSE_PARAMETERS,
}
_WIDTHS = {
    "backbone_widths": 4096,
    "backbone_blocks": 64,
    "deconv_widths": 4096,
    "point_feature_widths": 4096,
}
_COUNTS = {
    "input_size": (32, 1024),
    "num_landmarks": (68, 20_000),
    "num_sampled": (1, 20_000),
    "grid_size": (2, 256),
    "hidden_width": (1, 16_384),
    "iterations": (1, 8),
}
_NUMBERS = {"dropout": (0.0, 0.99), "landmark_scale": (0.0, 1000.0), "second_look_scale": (0.7, 1.0)}


@dataclass(frozen=True)
class TRGConfig:
    """The architecture of one TRG network.

    input_size            side of the square crop, pixels; the weights also run at other sizes.
    stem                  "resnet": 7x7 stride 2 and a max pool; "compact": 3x3 stride 2, first stage strides.
    backbone_widths       channels of the residual stages; the backbone's stride is 4 * 2**(stages - 1).
    backbone_blocks       residual blocks of each stage.
    deconv_widths         channels of the upsampled maps, each twice as fine as the one before.
    lateral_connections   whether the backbone's maps of the same size are added to the upsampled ones; then
                          input_size must be a multiple of the backbone's stride.
    point_feature_widths  channels of the 1x1 reductions at the sampling points.
    num_landmarks         dense landmarks V.
    num_sampled           landmarks S that are sampled and fed back between the iterations.
    grid_size             the first iteration samples grid_size**2 points.
    hidden_width          of the regressor.
    iterations            refinements.
    multi_scale           the t-th iteration looks at the t-th map, the last one where there are fewer maps;
                          otherwise all look at the last.
    point_activation      after the last point reduction.
    regressor_activation  after each hidden layer of the regressor.
    dropout               after each hidden layer of the regressor, in training.
    heatmap_level         the map under the training-only head for 68 landmarks, from the last if negative.
    detach_iterations     in training, stop gradients between iterations.
    landmark_scale        metres; the regressor's unit of length; conditions training.
    sampling              "landmarks": follow the projected landmarks; "grid": always the fixed grid.
    box_feature           what the regressor is told about the box: "full", its "center" or "none".
    translation           how pose and box make the translation, see `trg_ros.model.pose`: "correction" (the
                          paper's Eq. 2), "camera_offset", "local_to_global" or "direct".
    predicts_landmarks    false: poses alone, of the initial face; needs sampling "grid".
    second_look_scale     side of the boxes of second looks over TRG's: who has just seen the face can look
                          closer. Not for trackers: heads move between images.
    """

    input_size: int = 192
    stem: str = "resnet"
    backbone_widths: tuple[int, ...] = (64, 128, 256, 512)
    backbone_blocks: tuple[int, ...] = (2, 2, 2, 2)
    deconv_widths: tuple[int, ...] = (256, 256, 256)
    lateral_connections: bool = False
    point_feature_widths: tuple[int, ...] = (128, 64, 5)
    num_landmarks: int = 1220
    num_sampled: int = 305
    grid_size: int = 18
    hidden_width: int = 1024
    iterations: int = 3
    multi_scale: bool = True
    point_activation: str = "relu"
    regressor_activation: str = "none"
    dropout: float = 0.5
    heatmap_level: int = -1
    detach_iterations: bool = False
    landmark_scale: float = 1.0
    sampling: str = "landmarks"
    box_feature: str = "full"
    translation: str = "correction"
    predicts_landmarks: bool = True
    second_look_scale: float = 1.0

    def __post_init__(self) -> None:
        """:raises InputError: naming the field that can't be used."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _bad(self, name, f"must be one of {', '.join(choices)}")
        for name, (low, high) in _COUNTS.items():
            if not _is_count(getattr(self, name), low, high):
                raise _bad(self, name, f"must be an integer from {low} to {high}")
        for name, largest in _WIDTHS.items():
            values = getattr(self, name)
            if not isinstance(values, tuple) or not 1 <= len(values) <= 8:
                raise _bad(self, name, "must be a tuple of 1 to 8 integers")
            if not all(_is_count(value, 1, largest) for value in values):
                raise _bad(self, name, f"must hold integers from 1 to {largest}")
        for name in ("lateral_connections", "multi_scale", "detach_iterations", "predicts_landmarks"):
            if not isinstance(getattr(self, name), bool):
                raise _bad(self, name, "must be true or false")
        for name, (least, most) in _NUMBERS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise _bad(self, name, f"must be a number from {least:g} to {most:g}")
        self._check_consistency()

    def _check_consistency(self) -> None:
        if self.landmark_scale == 0:
            raise _bad(self, "landmark_scale", "must be above 0")
        if len(self.backbone_blocks) != len(self.backbone_widths):
            raise _bad(
                self, "backbone_blocks", f"must have one entry per stage ({len(self.backbone_widths)})"
            )
        if not self.predicts_landmarks and self.sampling != "grid":
            raise _bad(self, "sampling", 'must be "grid" where predicts_landmarks is off')
        if self.num_sampled > self.num_landmarks:
            raise _bad(self, "num_sampled", f"can't exceed num_landmarks ({self.num_landmarks})")
        levels = len(self.deconv_widths)
        if self.lateral_connections and levels >= len(self.backbone_widths):
            raise _bad(self, "lateral_connections", "needs fewer deconv_widths than backbone_widths")
        stride = 2 ** (1 + len(self.backbone_widths))
        if self.lateral_connections and self.input_size % stride:
            raise _bad(self, "input_size", f"must be a multiple of {stride} with lateral_connections")
        if not _is_count(self.heatmap_level, -levels, levels - 1):
            raise _bad(self, "heatmap_level", f"must be an integer from {-levels} to {levels - 1}")

    @property
    def lateral_widths(self) -> tuple[int, ...]:
        """Channels of the backbone's map that is added to each of the upsampled ones; 0: none is."""
        if not self.lateral_connections:
            return (0,) * len(self.deconv_widths)
        return self.backbone_widths[-2::-1][: len(self.deconv_widths)]

    @property
    def fed_back_size(self) -> int:
        """How many numbers of the previous landmarks a regressor is told."""
        return 3 * self.num_sampled if self.predicts_landmarks else 0

    @property
    def box_feature_size(self) -> int:
        """How many numbers describe the box to the regressor."""
        return {"full": 3, "center": 2, "none": 0}[self.box_feature]

    def map_level(self, iteration: int) -> int:
        """Index of the upsampled map that the iteration (0, 1, ...) samples."""
        last = len(self.deconv_widths) - 1
        return min(iteration, last) if self.multi_scale else last

    def num_points(self, iteration: int) -> int:
        """How many points the iteration samples."""
        on_grid = iteration == 0 or self.sampling == "grid"
        return self.grid_size**2 if on_grid else self.num_sampled

    def regressor_inputs(self, iteration: int) -> int:
        """How many numbers the iteration's regressor is told."""
        features = self.num_points(iteration) * self.point_feature_widths[-1]
        return features + self.fed_back_size + POSE_SIZE + self.box_feature_size

    def stage_stride(self, stage: int) -> int:
        """By how much the backbone's stage (0, 1, ...) reduces its maps."""
        return 1 if stage == 0 and self.stem == "resnet" else 2

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TRGConfig":
        """The configuration of `to_dict`; fields left out keep their defaults.

        :raises InputError: naming an unknown field, or one with a value that can't be used.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise InputError(
                    f"model configuration has an unknown field {name!r}; known are {sorted(known)}"
                )
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)


def _is_count(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _bad(config: TRGConfig, name: str, rule: str) -> InputError:
    return InputError(f"model configuration: {name} {rule}, not {getattr(config, name)!r}")
