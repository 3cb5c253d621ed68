"""From features at points of the crop to corrections of landmarks and pose."""

from torch import Tensor, cat, nn
from torch.nn import functional

from trg_ros.model.config import POSE_SIZE, TRGConfig

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class PointFeatures(nn.Module):
    """Sample a map at points and reduce each point's feature on its own.

    Every reduction after the first sees the raw feature again, behind what came out of the one before.
    """

    def __init__(self, config: TRGConfig, channels: int):
        super().__init__()
        widths = config.point_feature_widths
        inputs = [channels, *(width + channels for width in widths[:-1])]
        self.layers = nn.ModuleList(nn.Conv1d(i, o, 1) for i, o in zip(inputs, widths, strict=True))
        self.activation = _ACTIVATIONS[config.point_activation]()

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        """(N, C, H, W) and points (N, P, 2) in [-1, 1] -> (N, widths[-1] * P), channel-major."""
        # Interpolation weights need more digits than a half-precision map has.
        sampled = functional.grid_sample(features.to(points.dtype), points[:, :, None], align_corners=True)
        sampled = running = sampled[..., 0].to(next(self.parameters()).dtype)
        for index, layer in enumerate(self.layers):
            if index > 0:
                running = cat([functional.leaky_relu(running, 0.01), sampled], dim=1)
            running = layer(running)
        return self.activation(running).flatten(1)


class Regressor(nn.Module):
    """One iteration's multilayer perceptron: everything known so far -> residuals."""

    def __init__(self, config: TRGConfig, iteration: int):
        super().__init__()
        inputs, width = config.regressor_inputs(iteration), config.hidden_width
        self.hidden = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width)])
        self.activation = _ACTIVATIONS[config.regressor_activation]()
        self.dropout = nn.Dropout(config.dropout)
        self.landmark_head = nn.Linear(width, config.num_landmarks * 3) if config.predicts_landmarks else None
        self.pose_head = nn.Linear(width, POSE_SIZE)
        for head in (self.landmark_head, self.pose_head):  # an untrained network keeps its initial state
            if head is not None:
                nn.init.xavier_uniform_(head.weight, gain=0.01)
                nn.init.zeros_(head.bias)

    def forward(self, inputs: Tensor) -> tuple[Tensor | None, Tensor]:
        """(N, inputs) -> landmark residuals (N, 3V), None if there are none; pose residuals (N, 9)."""
        running = inputs.to(self.pose_head.weight.dtype)
        for layer in self.hidden:
            running = self.dropout(self.activation(layer(running)))
        landmarks = None if self.landmark_head is None else self.landmark_head(running)
        return landmarks, self.pose_head(running)
