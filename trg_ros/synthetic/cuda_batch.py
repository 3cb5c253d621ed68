"""Plans of several heads as tensors on one device, in the one layout that all heads share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trg_ros.synthetic.cuda_light import BatchLight
from trg_ros.synthetic.face_model import FaceModel
from trg_ros.synthetic.glasses import Glasses, draw_glasses
from trg_ros.synthetic.hair import SHELL_TRIANGLES
from trg_ros.synthetic.plan import HeadPlan
from trg_ros.synthetic.raster import VISIBILITY_TAPS

_MOST_LAMPS = 3
_SHELL_VERTICES = int(SHELL_TRIANGLES.max()) + 1


class Layout:
    """Which vertices and triangles every head has, in their order; absent pieces are not drawn.

    Vertices: the model's, the hair's, the frames', and the frames' again for the lenses' colours. Triangles
    (T, 3) int32: the model's ``solid`` ones, hair, frames; then, translucent, eyelashes and lenses. opaque,
    lashes: where translucent triangles and lenses begin. translucent: the vertices (W,) of the former.
    """

    def __init__(self, model: FaceModel) -> None:
        sample: Glasses = draw_glasses(model.neutral, model.landmarks68, np.random.default_rng(0))
        self.pieces = (len(model.neutral), _SHELL_VERTICES, len(sample.vertices), len(sample.vertices))
        _, hair, frames, lenses = np.cumsum((0, *self.pieces[:3]))
        self.solid = ~model.eyelashes
        solid, eyelashes = model.triangles[self.solid], model.triangles[model.eyelashes]
        opaque = [solid, SHELL_TRIANGLES + hair, sample.frame + frames]
        self.opaque = sum(len(part) for part in opaque)
        self.lashes = self.opaque + len(eyelashes)
        self.triangles = np.concatenate([*opaque, eyelashes, sample.lenses + lenses]).astype(np.int32)
        self.translucent = np.unique(self.triangles[self.opaque :]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Piece:
    """Hair or glasses of N heads: vertices (N, V, 3) float64 model space, colors (N, V, 3) float32, present
    (N, 1, 1) bool."""

    vertices: Tensor
    colors: Tensor
    present: Tensor


@dataclass(frozen=True, eq=False)
class PlanBatch:
    """Plans of N heads; the names are those of `trg_ros.synthetic.plan.HeadPlan` and its parts.

    vertices (N, V, 3), colors (N, V, 3) float32; drawn (N, solid) uint8. rotation (N, 3, 3), translation,
    origin (N, 1, 3), center (N, 1, 2), window (N, 1, 1): float64. Factors (N, 1, 1), lens_color (N, 1, 3),
    opacities (N, 2) of eyelashes and lenses, exposure_target (N,): float32.
    """

    vertices: Tensor
    colors: Tensor
    drawn: Tensor
    shell: Piece
    glasses: Piece
    light: BatchLight
    rotation: Tensor
    translation: Tensor
    origin: Tensor
    center: Tensor
    window: Tensor
    teeth_light: Tensor
    shell_gloss: Tensor
    frame_light: Tensor
    lens_light: Tensor
    lens_color: Tensor
    opacities: Tensor
    exposure_target: Tensor


def upload_plans(plans: Sequence[HeadPlan], layout: Layout, device: torch.device) -> PlanBatch:
    """Everything that painting needs, on the device; on a GPU nothing waits for it."""

    def upload(arrays: Sequence[np.ndarray], dtype: torch.dtype) -> Tensor:
        staging = torch.empty((len(arrays), *arrays[0].shape), dtype=dtype, pin_memory=device.type == "cuda")
        for row, array in zip(staging.numpy(), arrays, strict=True):
            np.copyto(row, array, casting="same_kind")
        return staging.to(device, non_blocking=True)

    def piece(parts: Sequence, count: int) -> Piece:
        none = np.zeros((count, 3))
        present = upload([np.array([[part is not None]]) for part in parts], torch.bool)
        vertices = upload([none if part is None else part.vertices for part in parts], torch.float64)
        colors = upload([none if part is None else part.colors for part in parts], torch.float32)
        return Piece(vertices, colors, present)

    numbers = [_numbers(plan) for plan in plans]
    packed = upload(
        [np.concatenate([part.ravel() for part in row.values()]) for row in numbers], torch.float64
    )
    columns = packed.split([part.size for part in numbers[0].values()], dim=1)
    named = {
        name: column.reshape(-1, *numbers[0][name].shape)
        for name, column in zip(numbers[0], columns, strict=True)
    }
    places = {name: named.pop(name) for name in ("rotation", "translation", "origin", "center", "window")}
    taps = named.pop("taps").long()
    single = {name: value.float() for name, value in named.items()}
    lamps = {name: single.pop(name) for name in ("ambient", "surface", "lights", "weights")}
    return PlanBatch(
        vertices=upload([plan.vertices for plan in plans], torch.float32),
        colors=upload([plan.look.colors for plan in plans], torch.float32),
        drawn=upload([plan.drawn[layout.solid] for plan in plans], torch.uint8),
        shell=piece([plan.shell for plan in plans], layout.pieces[1]),
        glasses=piece([plan.glasses for plan in plans], layout.pieces[2]),
        light=BatchLight(taps=taps, **lamps),
        **places,
        **single,
    )


def _numbers(plan: HeadPlan) -> dict[str, np.ndarray]:
    """What is small about a plan, in arrays of always the same shapes."""
    camera, light = plan.camera, plan.light
    lamps = len(light.lights)
    lights, weights = np.zeros((_MOST_LAMPS, 8)), np.zeros((_MOST_LAMPS, VISIBILITY_TAPS))
    taps = np.zeros((_MOST_LAMPS, VISIBILITY_TAPS))
    lights[:lamps], weights[:lamps], taps[:lamps] = light.lights, light.weights, light.taps
    lens_color = np.zeros(3) if plan.glasses is None else plan.glasses.lens_color
    values = {
        "rotation": camera.rotation, "translation": camera.translation[None], "origin": camera.origin[None],
        "center": camera.center[None], "window": [[camera.window]],
        "ambient": light.ambient, "surface": light.surface, "lights": lights, "weights": weights,
        "taps": taps, "teeth_light": [[plan.teeth_light]], "shell_gloss": [[plan.shell_gloss]],
        "frame_light": [[plan.frame_light]], "lens_light": [[plan.lens_light]],
        "lens_color": lens_color[None], "opacities": [plan.eyelash_opacity, plan.lens_opacity],
        "exposure_target": plan.exposure_target,
    }  # fmt: skip
    return {name: np.asarray(value, np.float64) for name, value in values.items()}
