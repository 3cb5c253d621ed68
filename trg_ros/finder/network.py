"""The finder's network in torch: pixels in, one map of heat, box and five points out; fully convolutional."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trg_ros.finder.config import CHANNELS, HEAT, LOG_SIDE, MEAN, SCALE, FinderConfig, kernel_at


class _Conv(nn.Sequential):
    """Convolution, batch normalisation and, unless ``plain``, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, plain: bool = False
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([] if plain else [nn.ReLU(inplace=True)]))

    def fuse(self) -> None:
        """Make the normalisation a part of the convolution."""
        convolution, norm = self[0], self[1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self[0], self[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


class _Separable(nn.Module):
    """Depthwise, then pointwise convolution; a residual one where the shape stays the same."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.spatial = _Conv(inputs, inputs, kernel, stride, groups=inputs, plain=True)
        self.mix = _Conv(inputs, outputs, 1)
        self._residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(self.spatial(x))
        return x + y if self._residual else y


class FinderNetwork(nn.Module):
    """(N, H, W, 3) uint8 RGB, H and W multiples of ``ALIGNMENT`` -> (N, 14, H/8, W/8) float32."""

    def __init__(self, config: FinderConfig | None = None) -> None:
        super().__init__()
        config = self.config = config or FinderConfig()
        widths, neck = config.widths, config.neck
        self.stem = _Conv(3, widths[0], 3, 2)
        self.stages = nn.ModuleList()
        for level in range(1, 5):
            kernel = kernel_at(level)
            blocks = [_Separable(widths[level - 1], widths[level], kernel, 2)]
            blocks += [_Separable(widths[level], widths[level], kernel) for _ in range(config.depths[level])]
            self.stages.append(nn.Sequential(*blocks))
        self.lateral = nn.ModuleList([_Conv(width, neck, 1, plain=True) for width in widths[2:]])
        self.merge = nn.ModuleList([_Separable(neck, neck), _Separable(neck, neck)])
        answer, bias = nn.Conv2d(neck, CHANNELS, 1), torch.zeros(CHANNELS)
        bias[HEAT], bias[LOG_SIDE] = -4.0, 1.5  # few faces, of 36 px
        answer.bias = nn.Parameter(bias)
        self.head = nn.Sequential(_Separable(neck, neck), answer)

    def forward(self, images: Tensor) -> Tensor:
        return self.from_planes((images.permute(0, 3, 1, 2).float() - MEAN) * SCALE)

    def from_planes(self, x: Tensor) -> Tensor:
        """The same for images that are normalised already, (N, 3, H, W) float."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        coarse = self.lateral[2](maps[3])
        for level, merge in ((1, self.merge[1]), (0, self.merge[0])):
            up = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
            coarse = merge(torch.relu(self.lateral[level](maps[level + 1]) + up))
        return self.head(coarse).float()

    def fused(self) -> FinderNetwork:
        """A copy for running: batch normalisation folded into the convolutions."""
        copy = FinderNetwork(self.config)
        copy.load_state_dict(self.state_dict())
        copy.eval()
        for module in copy.modules():
            if isinstance(module, _Conv):
                module.fuse()
        return copy.requires_grad_(False)
