"""The network as it is deployed: the function of `TRG` in evaluation mode, in fewer steps.

Crops come as bytes; batch normalisation is part of the convolutions, the colour scale of the first one;
what the first regressor knows beforehand is a bias; linear layers without an activation between them are
multiplied out where that leaves fewer numbers. It can be traced, and exported with `torch.onnx.export`
(dynamo), for any number of faces.
"""

from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trg_ros.model.backbone import HeatmapHead, upsample
from trg_ros.model.config import IMAGE_MEAN, IMAGE_STD, MEAN_COLOUR, POSE_SIZE
from trg_ros.model.deployed_points import deployed_points, levels_looked_at, looking_iterations
from trg_ros.model.folding import (
    POSE_ORDER,
    folded,
    folded_heads,
    folded_landmarks,
    folded_regressor,
)
from trg_ros.model.network import TRG, project_to_crop
from trg_ros.model.pose import pose_in_camera
from trg_ros.model.regressor import Regressor

_TURNS = [[1, 2, 0, 2, 0, 1], [2, 0, 1, 1, 2, 0]]  # axes of the factors of a cross product


class DeployedOutput(NamedTuple):
    """N heads. Metres; frames `head` and `camera` as in `trg_ros.geometry`."""

    landmarks_head: Tensor
    """(N, K, 3) in the head frame; which K of the landmarks says `DeployedTRG.landmark_indices`."""
    rotation: Tensor
    """(N, 3, 3) camera_R_head."""
    translation: Tensor
    """(N, 3) the head frame's origin in the camera frame."""
    landmarks68_crop: Tensor
    """(N, 68, 2) x, y in [-1, 1] over the crop, of the 2D head: a second opinion, for scores."""


class DeployedTRG(nn.Module):
    """A `TRG` for inference in float32, in three parts: `features` does nearly all the work, `refinement`
    computes the pose and few landmarks, and `landmarks` makes all of them of the code that it leaves behind,
    when somebody asks.

    ``border`` is how many pixels of mean colour `features` wants around its crops, see `bordered`.

    :param model: the trained network; it is left as it is.
    :param dense: `forward` gives all landmarks; otherwise only those that TRG itself samples and the 68,
        which costs less and changes neither them nor the pose.
    """

    def __init__(self, model: TRG, dense: bool = True):
        super().__init__()
        self.config = model.config
        self.dense = dense
        self.border = 0
        sampled, landmarks68 = model.topology.sampled, model.topology.landmarks68
        kept = np.union1d(sampled, landmarks68)
        self.landmark_indices = np.arange(model.config.num_landmarks) if dense else kept
        with torch.no_grad():
            self.features = DeployedFeatures(model)
            self.refinement = DeployedRefinement(model, landmarks68 if dense else kept)
            self.landmarks = DeployedLandmarks(model)
        self.eval().requires_grad_(False)

    def forward(self, crops_rgb: Tensor, box: Tensor) -> DeployedOutput:
        """Estimate the heads in a batch of crops.

        :param crops_rgb: (N, S, S, 3) uint8 RGB.
        :param box: (N, 3) float32, as for `TRG.forward`.
        """
        landmarks68, *maps = self.features(self.bordered(crops_rgb))
        landmarks_head, rotation, translation, shape_code = self.refinement(box, *maps)
        if self.dense:
            landmarks_head = self.landmarks(shape_code)
        return DeployedOutput(landmarks_head, rotation, translation, landmarks68)

    def bordered(self, crops_rgb: Tensor) -> Tensor:
        """Crops (N, S, S, 3) as `features` reads them."""
        if not self.border:
            return crops_rgb
        count, size = len(crops_rgb), crops_rgb.shape[1]
        inside = slice(self.border, self.border + size)
        side = size + 2 * self.border
        canvas = torch.tensor(MEAN_COLOUR, dtype=torch.uint8).expand(count, side, side, 3).clone()
        canvas[:, inside, inside] = crops_rgb
        return canvas


class DeployedFeatures(nn.Module):
    """(N, S, S, 3) uint8 RGB -> landmarks68_crop (N, 68, 2), then each map (N, C, H, W) that an iteration
    looks at, once."""

    def __init__(self, model: TRG):
        super().__init__()
        config = model.config
        self.levels = levels_looked_at(model)
        self.heatmap_level = config.heatmap_level % len(config.deconv_widths)
        self.backbone = folded(model.backbone)
        needed = 1 + max([*self.levels, self.heatmap_level])
        self.upsamplers = nn.ModuleList(map(folded, list(model.upsamplers)[:needed]))
        self.heatmap_head = SoftArgmax(model.heatmap_head)
        stem = self.backbone.stem.conv
        stem.weight = nn.Parameter(stem.weight / (255 * torch.tensor(IMAGE_STD)[:, None, None]))
        self.colours: nn.Module = MeanSubtracted()

    def forward(self, crops_rgb: Tensor) -> tuple[Tensor, ...]:
        stages = self.backbone(self.colours(crops_rgb))
        maps = upsample(stages, self.upsamplers)
        return self.heatmap_head(maps[self.heatmap_level]), *(maps[level] for level in self.levels)


class MeanSubtracted(nn.Module):
    """Crops (N, S, S, 3) uint8 -> (N, 3, S, S) float32 about the mean colour, which is no part of a bias:
    the first convolution pads with zeros."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(IMAGE_MEAN))

    def forward(self, crops_rgb: Tensor) -> Tensor:
        return (crops_rgb.float() - self.mean).permute(0, 3, 1, 2)


class SoftArgmax(nn.Module):
    """`HeatmapHead`, with the mean place of the heat as one product."""

    def __init__(self, head: HeatmapHead):
        super().__init__()
        self.conv = folded(head.conv)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        logits = self.conv(features).flatten(2)
        heat = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
        columns = torch.arange(width, device=heat.device, dtype=heat.dtype) / width * 2 - 1
        rows = torch.arange(height, device=heat.device, dtype=heat.dtype) / height * 2 - 1
        places = torch.stack([columns.repeat(height), rows.repeat_interleave(width)], dim=1)
        return heat @ places


class DeployedRefinement(nn.Module):
    """Box (N, 3) and maps -> landmarks_head (N, K, 3), rotation (N, 3, 3), translation (N, 3) and a code
    (N, C) of the head's shape, for `DeployedLandmarks`.

    The state that the iterations refine is one vector: the landmarks that somebody wants but nobody samples,
    those that TRG samples, the pose; so the next iteration reads one slice of it. The two columns of the 6D
    rotation lie one after the other in it.

    :param landmark_indices: (K,) which landmarks to give.
    """

    grid: Tensor
    initial_state: Tensor
    positions: Tensor
    box_unit: Tensor
    turns: Tensor

    def __init__(self, model: TRG, landmark_indices: np.ndarray):
        super().__init__()
        config, sampled = model.config, model.topology.sampled
        self.config = config
        self.num_fed_back = 3 * len(sampled) + POSE_SIZE
        order = np.concatenate([np.setdiff1d(landmark_indices, sampled), sampled])
        state = torch.cat([model.initial_landmarks[order].flatten(), model.initial_pose[POSE_ORDER]])
        looking = looking_iterations(model)
        self.looks = [iteration in looking for iteration in range(config.iterations)]
        levels = levels_looked_at(model)
        self.places = [levels.index(config.map_level(iteration)) for iteration in looking]
        self.point_features = nn.ModuleList(deployed_points(model, looking))
        regressors = [cast(Regressor, regressor) for regressor in model.regressors]
        self.regressors = nn.ModuleList(
            folded_regressor(config, regressor, None if iteration else state, looks)
            for iteration, (regressor, looks) in enumerate(zip(regressors, self.looks, strict=True))
        )
        self.heads = nn.ModuleList(folded_heads(config, regressor, order) for regressor in regressors)
        self.register_buffer("grid", model.grid.clone())
        self.register_buffer("initial_state", state[None])
        self.register_buffer("box_unit", torch.tensor([4.0, 4.0, 1.0])[: config.box_feature_size])
        self.register_buffer("turns", torch.tensor(_TURNS))
        where = np.argsort(order)[np.searchsorted(np.sort(order), landmark_indices)]
        self.register_buffer("positions", torch.from_numpy(where))

    def forward(self, box: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        box_feature = box[:, : self.config.box_feature_size] * self.box_unit
        state = self.initial_state
        fed_back: list[Tensor] = []
        hidden: list[Tensor] = []
        points = self.grid.expand(box.shape[0], -1, -1)
        follow = self.config.sampling == "landmarks"
        looks = zip(self.point_features, [maps[place] for place in self.places], strict=True)
        for index, regressor in enumerate(self.regressors):
            known = [*fed_back, box_feature]
            if self.looks[index]:
                point_features, features = next(looks)
                if follow and index:
                    points = self._points(state, box)
                known.insert(0, point_features(features, points))
            hidden.append(regressor(torch.cat(known, dim=1)))
            state = state + self.heads[index](hidden[-1])
            fed_back = [state[:, -self.num_fed_back :]]
        rotation, translation = self._pose(state, box)
        landmarks = state[:, :-POSE_SIZE].unflatten(1, (-1, 3))[:, self.positions]
        return landmarks, rotation, translation, torch.cat(hidden, dim=1)

    def _points(self, state: Tensor, box: Tensor) -> Tensor:
        """(N, S, 2) where the sampled landmarks are in the crop."""
        rotation, translation = self._pose(state, box)
        sampled_head = state[:, -self.num_fed_back : -POSE_SIZE].unflatten(1, (-1, 3))
        return project_to_crop(sampled_head @ rotation.transpose(1, 2) + translation[:, None], box)

    def _pose(self, state: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        rotation = _rotation_from_axes(state[:, -POSE_SIZE:-6], state[:, -6:-3], self.turns)
        return pose_in_camera(self.config.translation, rotation, state[:, -3:], box)


class DeployedLandmarks(nn.Module):
    """Code of shapes (N, C) -> all landmarks (N, V, 3), head frame; linear, as all iterations add up."""

    def __init__(self, model: TRG):
        super().__init__()
        regressors = [cast(Regressor, regressor) for regressor in model.regressors]
        self.layer = folded_landmarks(model.config, regressors, model.initial_landmarks)

    def forward(self, shape_code: Tensor) -> Tensor:
        return self.layer(shape_code).unflatten(1, (-1, 3))


def _rotation_from_axes(first: Tensor, second: Tensor, turns: Tensor) -> Tensor:
    """`trg_ros.geometry.rotation_from_6d` of columns (N, 3), in few operations that every runtime's importer
    knows. (A list as an index would be copied to a GPU each time, which no graph can; `turns` is there.)"""
    first = functional.normalize(first, dim=-1)
    second = functional.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    products = first.index_select(1, turns[0]) * second.index_select(1, turns[1])
    return torch.stack([first, second, products[:, :3] - products[:, 3:]], -1)
