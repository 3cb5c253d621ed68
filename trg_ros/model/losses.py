"""TRG's training losses. Metres; means over points, coordinates and the samples that have the label."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trg_ros.errors import InputError
from trg_ros.model.network import TRGOutput, project_to_crop
from trg_ros.model.topology import Topology

ROTATION_LOSSES = ("mean_squared", "frobenius")


@dataclass(frozen=True)
class LossWeights:
    """Factors of the terms; the defaults are the paper's, with the release's rotation loss.

    iteration_decay  weight of an iteration relative to the one after it.
    rotation_loss    "mean_squared" over the nine elements (release) or "frobenius" norm (paper).
    """

    landmarks_head: float = 20.0
    landmarks_camera: float = 2.0
    landmarks_image: float = 0.01
    rotation: float = 10.0
    edges: float = 2.0
    landmarks68: float = 1.25
    iteration_decay: float = 0.5
    rotation_loss: str = "mean_squared"

    def __post_init__(self) -> None:
        if self.rotation_loss not in ROTATION_LOSSES:
            raise InputError(
                f"rotation_loss must be one of {', '.join(ROTATION_LOSSES)}, not {self.rotation_loss!r}"
            )


@dataclass(frozen=True)
class TRGTargets:
    """Labels of N crops. Where `has_3d` is false the 3D labels may hold anything, NaN included.

    landmarks_head    (N, V, 3) head frame, metres.
    rotation          (N, 3, 3) camera_R_head.
    translation       (N, 3) metres, camera frame.
    landmarks68_crop  (N, 68, 2) x, y in [-1, 1] over the crop.
    focal             (N,) pixels per unit of the normalised image plane: the unit of the image loss.
    has_3d            (N,) bool.
    """

    landmarks_head: Tensor
    rotation: Tensor
    translation: Tensor
    landmarks68_crop: Tensor
    focal: Tensor
    has_3d: Tensor


def landmark_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L1 distance per sample (N,) of points (N, P, D), mean over points and coordinates."""
    return (predicted - target).abs().mean(dim=(1, 2))


def rotation_loss(predicted: Tensor, target: Tensor, kind: str = "mean_squared") -> Tensor:
    """Distance per sample (N,) of rotations (N, 3, 3): mean squared element, or Frobenius norm."""
    squares = (predicted - target).square()
    if kind == "frobenius":
        return (squares.sum(dim=(1, 2)) + 1e-12).sqrt()  # the root of zero has no gradient
    return squares.mean(dim=(1, 2))


def edge_loss(predicted: Tensor, target: Tensor, edges: Tensor) -> Tensor:
    """Mean difference per sample (N,) of the lengths of edges (E, 2) between landmarks (N, V, 3), metres."""
    return (_edge_lengths(predicted, edges) - _edge_lengths(target, edges)).abs().mean(dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (N,) where mask (N,) holds; zero where it never does. What is masked out may be NaN."""
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)


def _edge_lengths(landmarks: Tensor, edges: Tensor) -> Tensor:
    difference = landmarks[:, edges[:, 0]] - landmarks[:, edges[:, 1]]
    return (difference.square().sum(-1) + 1e-12).sqrt()


class TRGLoss(nn.Module):
    """The sum of all terms over all iterations. Samples without 3D labels contribute their 2D terms only:
    the heatmap head's landmarks, and the 68 among the projected dense ones."""

    edges: Tensor
    landmarks68: Tensor

    def __init__(self, topology: Topology, weights: LossWeights | None = None):
        super().__init__()
        self.weights = weights or LossWeights()
        self.register_buffer("edges", torch.from_numpy(topology.edges), persistent=False)
        self.register_buffer("landmarks68", torch.from_numpy(topology.landmarks68.copy()), persistent=False)

    def forward(
        self, outputs: list[TRGOutput], box: Tensor, targets: TRGTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """:param box: (N, 3) the normalised boxes that the outputs were computed with.
        :returns: the loss, and its weighted terms, detached, summed over the iterations.
        """
        targets = _without_nan(targets)
        total: dict[str, Tensor] = {}
        for age, output in enumerate(reversed(outputs)):
            terms = self._iteration_terms(output, box, targets)
            if age == 0:
                lengths = edge_loss(output.landmarks_head, targets.landmarks_head, self.edges)
                terms["edges"] = self.weights.edges * masked_mean(lengths, targets.has_3d)
            for name, value in terms.items():
                total[name] = total.get(name, 0) + self.weights.iteration_decay**age * value
        if outputs[-1].landmarks68_crop is not None:
            distance = landmark_loss(outputs[-1].landmarks68_crop, targets.landmarks68_crop)
            total["landmarks68"] = self.weights.landmarks68 * distance.mean()
        return torch.stack(list(total.values())).sum(), {
            name: value.detach() for name, value in total.items()
        }

    def _iteration_terms(self, output: TRGOutput, box: Tensor, targets: TRGTargets) -> dict[str, Tensor]:
        weights, has_3d = self.weights, targets.has_3d
        camera = targets.landmarks_head @ targets.rotation.transpose(1, 2) + targets.translation[:, None]
        head_distance = landmark_loss(output.landmarks_head, targets.landmarks_head)
        camera_distance = landmark_loss(output.landmarks_camera, camera)
        rotation_distance = rotation_loss(output.rotation, targets.rotation, weights.rotation_loss)
        return {
            "landmarks_head": weights.landmarks_head * masked_mean(head_distance, has_3d),
            "landmarks_camera": weights.landmarks_camera * masked_mean(camera_distance, has_3d),
            "landmarks_image": weights.landmarks_image * self._image_distance(output, camera, box, targets),
            "rotation": weights.rotation * masked_mean(rotation_distance, has_3d),
        }

    def _image_distance(self, output: TRGOutput, camera: Tensor, box: Tensor, targets: TRGTargets) -> Tensor:
        """Pixels: all landmarks where they are known, the 68 elsewhere."""
        predicted = project_to_crop(output.landmarks_camera, box)
        dense = landmark_loss(predicted, project_to_crop(camera, box))
        sparse = landmark_loss(predicted[:, self.landmarks68], targets.landmarks68_crop)
        pixels_per_crop_unit = targets.focal * box[:, 2] / 2
        return (torch.where(targets.has_3d, dense, sparse) * pixels_per_crop_unit).mean()


def _without_nan(targets: TRGTargets) -> TRGTargets:
    """Harmless values where labels are missing: a masked NaN would still poison the gradients."""
    mask = targets.has_3d[:, None]
    identity = torch.eye(3, dtype=targets.rotation.dtype, device=targets.rotation.device)
    return TRGTargets(
        landmarks_head=torch.where(mask[..., None], targets.landmarks_head, 0.0),
        rotation=torch.where(mask[..., None], targets.rotation, identity),
        translation=torch.where(mask, targets.translation, 1.0),
        landmarks68_crop=targets.landmarks68_crop,
        focal=targets.focal,
        has_3d=targets.has_3d,
    )
