"""Feature extraction: a residual backbone, and transposed convolutions that bring resolution back."""

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
    """(N, 3, H, W) -> (N, backbone_widths[-1], H/stride, W/stride), stride 4 * 2**(stages - 1)."""

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

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.pool(functional.relu(self.stem(x))))


class Upsampler(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))


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
