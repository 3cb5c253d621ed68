"""Feature extraction: a residual backbone, and transposed convolutions that bring resolution back."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trg_ros.model.config import TRGConfig


class ConvNorm(nn.Module):
    """Convolution without bias, then batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class ResidualBlock(nn.Module):
    """The basic block of ResNet-18: two 3x3 convolutions and a shortcut, projected where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3)
        same_shape = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same_shape else ConvNorm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


class Backbone(nn.Module):
    """(N, 3, H, W) -> a map of each stage, (N, backbone_widths[i], H/s, W/s) with s = 4 * 2**i."""

    def __init__(self, config: TRGConfig):
        super().__init__()
        widths = config.backbone_widths
        self.pool: nn.Module
        if config.stem == "resnet":
            self.stem = ConvNorm(3, widths[0], 7, stride=2)
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.stem = ConvNorm(3, widths[0], 3, stride=2)
            self.pool = nn.Identity()
        stages = []
        inputs = widths[0]
        for index, (width, blocks) in enumerate(zip(widths, config.backbone_blocks, strict=True)):
            strides = [config.stage_stride(index)] + [1] * (blocks - 1)
            stage = nn.Sequential()
            for stride in strides:
                stage.append(ResidualBlock(inputs, width, stride))
                inputs = width
            stages.append(stage)
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        running = self.pool(functional.relu(self.stem(x)))
        maps = []
        for stage in self.stages:
            running = stage(running)
            maps.append(running)
        return maps


class Upsampler(nn.Module):
    """(N, inputs, H, W) and the backbone's map (N, lateral, 2H, 2W) -> (N, outputs, 2H, 2W).

    The lateral connection (Lin et al., Feature Pyramid Networks, 2017) brings back where things are, which a
    coarse map with a few hundred channels can't hold. Without one (lateral 0) the finer map isn't looked at.
    """

    def __init__(self, inputs: int, outputs: int, lateral: int = 0):
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.lateral = nn.Conv2d(lateral, outputs, 1, bias=False) if lateral else None

    def forward(self, x: Tensor, finer: Tensor) -> Tensor:
        running = self.norm(self.conv(x))
        if self.lateral is not None:
            running = running + self.lateral(finer)
        return functional.relu(running)


def make_upsamplers(config: TRGConfig) -> nn.ModuleList:
    """One for each of `deconv_widths`."""
    inputs = [config.backbone_widths[-1], *config.deconv_widths[:-1]]
    return nn.ModuleList(map(Upsampler, inputs, config.deconv_widths, config.lateral_widths))


def upsample(stages: list[Tensor], upsamplers: Iterable[nn.Module]) -> list[Tensor]:
    """The upsampled maps, each twice as fine as the one before, of the backbone's."""
    running, maps = stages[-1], []
    for level, upsampler in enumerate(upsamplers):
        running = upsampler(running, stages[max(0, len(stages) - 2 - level)])
        maps.append(running)
    return maps


class HeatmapHead(nn.Module):
    """(N, C, H, W) -> (N, 68, 2) landmarks x, y in [-1, 1] over the crop, by soft-argmax; for training."""

    def __init__(self, inputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 68, 1)

    def forward(self, features: Tensor) -> Tensor:
        logits = self.conv(features)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        height, width = logits.shape[-2:]
        heat = logits.flatten(2).softmax(-1).view(-1, 68, height, width)
        columns = torch.arange(width, device=heat.device, dtype=heat.dtype) / width * 2 - 1
        rows = torch.arange(height, device=heat.device, dtype=heat.dtype) / height * 2 - 1
        return torch.stack([(heat.sum(2) * columns).sum(-1), (heat.sum(3) * rows).sum(-1)], -1)
