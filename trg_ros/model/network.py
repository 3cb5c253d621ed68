"""TRG: dense 3D landmarks, rotation and translation of a head, refined together (Chun & Chang, ECCV 2024).

One crop is a square window of the *normalised image plane* of its camera, (x/z, y/z): `box` holds its centre
relative to the optical axis and its side, so intrinsics never enter the network. For a pinhole camera with
focal length f and principal point (cx, cy), a box of side b px around (xc, yc) px is
((xc-cx)/f, (yc-cy)/f, b/f).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from trg_ros.geometry import rotation_from_6d
from trg_ros.model.backbone import Backbone, HeatmapHead, Upsampler, make_upsamplers, upsample
from trg_ros.model.config import TRGConfig
from trg_ros.model.pose import pose_in_camera
from trg_ros.model.regressor import PointFeatures, Regressor
from trg_ros.model.topology import Topology

# Metres; keeps projections finite while an untrained network puts landmarks behind the camera.
MIN_DEPTH = 0.05


class TRGOutput(NamedTuple):
    """What one iteration knows about N heads. Metres; frames `head` and `camera` as in `trg_ros.geometry`."""

    landmarks_head: Tensor
    """(N, V, 3) in the head frame."""
    rotation: Tensor
    """(N, 3, 3) camera_R_head."""
    translation: Tensor
    """(N, 3) the head frame's origin in the camera frame."""
    landmarks_camera: Tensor
    """(N, V, 3) in the camera frame."""
    rotation_6d: Tensor
    """(N, 6) what `rotation` was made of."""
    correction: Tensor
    """(N, 3) what `translation` was made of: s, tx, ty of Eq. 2, or see `trg_ros.model.pose`."""
    landmarks68_crop: Tensor | None = None
    """(N, 68, 2) x, y in [-1, 1] over the crop; only in the last output, in training or on request."""


class _State(NamedTuple):
    """What an iteration hands to the next one."""

    landmarks: Tensor
    pose: Tensor


class TRG(nn.Module):
    """The network. Its weights fit any input size.

    :param topology: must fit `config.num_landmarks` and `config.num_sampled`.
    :raises InputError: when it does not.
    """

    sampled: Tensor
    grid: Tensor
    initial_landmarks: Tensor
    initial_pose: Tensor

    def __init__(self, config: TRGConfig, topology: Topology):
        super().__init__()
        topology.validate(config.num_landmarks, config.num_sampled)
        self.config = config
        self.topology = topology
        self.backbone = Backbone(config)
        self.upsamplers = make_upsamplers(config)
        levels = [config.map_level(iteration) for iteration in range(config.iterations)]
        self.point_features = nn.ModuleList(
            PointFeatures(config, config.deconv_widths[level]) for level in levels
        )
        self.regressors = nn.ModuleList(Regressor(config, t) for t in range(config.iterations))
        self.heatmap_head = HeatmapHead(config.deconv_widths[config.heatmap_level])
        self.register_buffer("sampled", torch.from_numpy(topology.sampled.copy()), persistent=False)
        self.register_buffer("grid", _grid_points(config.grid_size), persistent=False)
        self.register_buffer("initial_landmarks", torch.zeros(config.num_landmarks, 3))
        start = [0.0, 0.0, 1.0] if config.translation == "direct" else [1.0, 0.0, 0.0]
        self.register_buffer("initial_pose", torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0, *start]))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for upsampler in self.upsamplers:
            if (lateral := cast(Upsampler, upsampler).lateral) is not None:
                nn.init.zeros_(lateral.weight)

    def set_initial_state(
        self,
        landmarks: Tensor | np.ndarray,
        rotation_6d: Tensor | np.ndarray | None = None,
        correction: Tensor | np.ndarray | None = None,
    ) -> None:
        """Where refinement starts: landmarks (V, 3), head frame; 6D rotation (6,); correction (3,)."""
        self.initial_landmarks.copy_(torch.as_tensor(landmarks))
        if rotation_6d is not None:
            self.initial_pose[:6].copy_(torch.as_tensor(rotation_6d))
        if correction is not None:
            self.initial_pose[6:].copy_(torch.as_tensor(correction))

    def set_compute_dtype(self, dtype: torch.dtype) -> "TRG":
        """Convert the layers; state and geometry keep their own precision. Returns self."""
        for layers in self.children():
            layers.to(dtype)
        return self

    def forward(self, crops: Tensor, box: Tensor, landmarks68: bool | None = None) -> list[TRGOutput]:
        """Estimate the heads in a batch of crops.

        :param crops: (N, 3, S, S) RGB, normalised as in `trg_ros.model.preprocessing`.
        :param box: (N, 3) centre x, centre y and side of each crop in the normalised image plane; its
            precision (float32 or float64) is that of the geometry, also under autocast.
        :param landmarks68: whether to run the training-only head for 68 landmarks; None: in training mode.
        :returns: one `TRGOutput` per iteration, the last one being the estimate.
        """
        wants68 = self.training if landmarks68 is None else landmarks68
        maps = self._feature_maps(crops, wants68)
        count = crops.shape[0]
        state = _State(
            self.initial_landmarks.to(box.dtype).expand(count, -1, -1),
            self.initial_pose.to(box.dtype).expand(count, -1),
        )
        points = self.grid.to(box.dtype).expand(count, -1, -1)
        outputs: list[TRGOutput] = []
        for iteration in range(self.config.iterations):
            features = maps[self.config.map_level(iteration)]
            state = self._refine(iteration, features, points, state, box)
            with _full_precision(box):
                outputs.append(self._output(state, box))
                points = self._next_points(points, outputs[-1], box)
            if self.config.detach_iterations:
                state, points = _State(state.landmarks.detach(), state.pose.detach()), points.detach()
        if wants68:
            outputs[-1] = outputs[-1]._replace(
                landmarks68_crop=self.heatmap_head(maps[self.config.heatmap_level])
            )
        return outputs

    def _feature_maps(self, crops: Tensor, all_levels: bool) -> list[Tensor]:
        stages = self.backbone(crops.to(self.backbone.stem.conv.weight.dtype))
        needed = 1 + max(self.config.map_level(iteration) for iteration in range(self.config.iterations))
        return upsample(stages, self.upsamplers if all_levels else self.upsamplers[:needed])

    def _refine(self, iteration: int, features: Tensor, points: Tensor, state: _State, box: Tensor) -> _State:
        point_features = self.point_features[iteration](features, points)
        sampled_landmarks = state.landmarks[:, self.sampled].flatten(1) / self.config.landmark_scale
        box_feature = torch.cat([4 * box[:, :2], box[:, 2:]], dim=1)[:, : self.config.box_feature_size]
        inputs = torch.cat(
            [
                point_features.to(box.dtype),
                sampled_landmarks[:, : self.config.fed_back_size],
                state.pose,
                box_feature,
            ],
            dim=1,
        )
        landmark_residual, pose_residual = self.regressors[iteration](inputs)
        landmarks = state.landmarks
        if landmark_residual is not None:
            residual = landmark_residual.to(box.dtype).view(-1, self.config.num_landmarks, 3)
            landmarks = landmarks + residual * self.config.landmark_scale
        return _State(landmarks, state.pose + pose_residual.to(box.dtype))

    def _output(self, state: _State, box: Tensor) -> TRGOutput:
        rotation_6d, correction = state.pose[:, :6], state.pose[:, 6:]
        rotation, translation = pose_in_camera(
            self.config.translation, rotation_from_6d(rotation_6d), correction, box
        )
        landmarks_camera = state.landmarks @ rotation.transpose(1, 2) + translation[:, None]
        return TRGOutput(state.landmarks, rotation, translation, landmarks_camera, rotation_6d, correction)

    def _next_points(self, points: Tensor, output: TRGOutput, box: Tensor) -> Tensor:
        if self.config.sampling == "grid":
            return points
        return project_to_crop(output.landmarks_camera[:, self.sampled], box)


def project_to_crop(points_camera: Tensor, box: Tensor) -> Tensor:
    """Points (N, P, 3) of the camera frame as x, y (N, P, 2) in the crop, [-1, 1] over the box (N, 3)."""
    normalised = points_camera[..., :2] / points_camera[..., 2:].clamp(min=MIN_DEPTH)
    return 2 * (normalised - box[:, None, :2]) / box[:, None, 2:]


def _grid_points(size: int) -> Tensor:
    """(1, size**2, 2) points on [-1, 1]^2, x and y; x is the slow index, as released weights expect."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32)] * 2, indexing="ij")
    return torch.from_numpy(np.stack([x, y], axis=-1).reshape(1, -1, 2))


def _full_precision(tensor: Tensor) -> AbstractContextManager:
    """Keep autocast away from geometry: half precision would round poses to centimetres."""
    device = tensor.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
