"""Painting planned heads on a GPU, a batch at once.

What comes out is what `trg_ros.synthetic.cpu_painter` paints, up to rounding. Normals, light, projection and
exposure are plain torch, so that the CPU can show that they are right; the kernels of ``raster.cu`` draw the
triangles. All heads have one list of triangles; a piece that a head lacks is moved nearer than the near
plane. Sums are in double precision or in a fixed order, so that a picture depends neither on chance nor on
the others in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trg_ros.synthetic.baked import HAIR_CENTER, Baked
from trg_ros.synthetic.cuda_batch import Layout, PlanBatch, upload_plans
from trg_ros.synthetic.cuda_kernels import Kernels, load_kernels
from trg_ros.synthetic.cuda_light import Normals
from trg_ros.synthetic.face_model import FACE_END, METRES_PER_UNIT, FaceModel
from trg_ros.synthetic.hair import SHELL_TRIANGLES
from trg_ros.synthetic.plan import HeadPlan
from trg_ros.synthetic.raster import NEAR
from trg_ros.synthetic.shading import HAIR_OPENNESS, LUMINANCE, MIN_FACE_LUMINANCE, specular_gain

KERNELS = Path(__file__).parent / "raster.cu"
_EMPTY = 2**63 - 1
_THREADS, _TILE = 256, 16


class CudaPainter:
    """Pictures of plans of one face model.

    :param kernels: those of ``KERNELS``; None: compiled for the device.
    :raises DeviceError: when they can't be compiled or loaded.
    """

    def __init__(
        self, model: FaceModel, baked: Baked, device: torch.device, kernels: Kernels | None = None
    ) -> None:
        self._device = device
        self._kernels = kernels or load_kernels(KERNELS, device)
        self._layout = Layout(model)
        solid = model.triangles[self._layout.solid]
        self._head_normals = Normals(solid, len(model.neutral), device)
        self._shell_normals = Normals(SHELL_TRIANGLES, self._layout.pieces[1], device)
        self._teeth = model.regions["teeth"]

        def constant(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        self._visibility, self._openness = constant(baked.visibility), constant(baked.openness)
        self._gain, self._luminance = constant(specular_gain(model)[:, None]), constant(LUMINANCE)
        self._triangles = constant(self._layout.triangles)
        self._translucent = constant(self._layout.translucent)
        self._hair_center = constant(HAIR_CENTER)
        self._hair_openness = torch.full((1,), HAIR_OPENNESS, device=device)

    @torch.inference_mode()
    def paint(self, plans: Sequence[HeadPlan], side: int) -> np.ndarray:
        """(N, side, side, 4) uint8, RGB premultiplied by the coverage in channel 3."""
        batch = upload_plans(plans, self._layout, self._device)
        points, colors, exposure = self._shaded(batch, plans[0].camera.pixels)
        image = self._drawn(batch, points, colors, plans[0].camera.pixels)
        return _finished(image, exposure, side).cpu().numpy()

    def _shaded(self, batch: PlanBatch, pixels: int) -> tuple[Tensor, Tensor, Tensor]:
        """Points (N, all, 3) px and depth, their linear colours (N, all, 3), and exposures (N,)."""
        head, head_colors, face_light = self._head(batch)
        shell, shell_colors = self._hair(batch)
        frames = _to_camera(batch.glasses.vertices, batch)
        frame_colors = batch.glasses.colors * face_light * batch.frame_light
        lens_colors = (batch.lens_color * face_light * batch.lens_light).expand_as(frame_colors)
        here = torch.ones_like(batch.shell.present)
        has_lens = batch.opacities[:, 1, None, None] > 0
        pieces = [
            (head, here), (shell, batch.shell.present), (frames, batch.glasses.present), (frames, has_lens),
        ]  # fmt: skip
        points = torch.cat([_to_pixels(points, there, batch, pixels) for points, there in pieces], dim=1)
        colors = torch.cat([head_colors, shell_colors, frame_colors, lens_colors], dim=1)
        luminance = (head_colors[:, :FACE_END].double() * self._luminance).sum(dim=-1).mean(dim=1)
        exposure = batch.exposure_target / luminance.clamp_min(MIN_FACE_LUMINANCE)
        return points, colors, exposure.float()

    def _head(self, batch: PlanBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Points (N, V, 3) in the camera frame, colours, and the mean diffuse light on the face (N, 1, 3)."""
        normals = _turned(self._head_normals(batch.vertices, batch.drawn).double(), batch.rotation).float()
        points = _to_camera(batch.vertices.double(), batch)
        diffuse, specular = batch.light.shine_on(points, normals, self._openness, self._visibility)
        face_light = diffuse[:, :FACE_END].double().mean(dim=1, keepdim=True).float()
        teeth = diffuse[:, self._teeth]
        torch.maximum(teeth, batch.teeth_light * face_light, out=teeth)
        return points, batch.colors * diffuse + specular * self._gain, face_light

    def _hair(self, batch: PlanBatch) -> tuple[Tensor, Tensor]:
        """Points (N, S, 3) in the camera frame and colours."""
        vertices = batch.shell.vertices
        normals = self._shell_normals(vertices)
        inward = ((vertices - self._hair_center) * normals).sum(dim=-1, keepdim=True) < 0
        normals = _turned(torch.where(inward, -normals, normals), batch.rotation).float()
        points = _to_camera(vertices, batch)
        diffuse, specular = batch.light.shine_on(points, normals, self._hair_openness)
        return points, batch.shell.colors * diffuse + specular * batch.shell_gloss

    def _drawn(self, batch: PlanBatch, points: Tensor, colors: Tensor, pixels: int) -> Tensor:
        """(N, 4, P, P) float32: linear RGB and coverage."""
        layout, count, vertices = self._layout, len(points), points.shape[1]
        nearest = torch.full((count, pixels, pixels), _EMPTY, dtype=torch.int64, device=self._device)
        image = torch.empty((count, 4, pixels, pixels), device=self._device)
        bounds = _bounds(points[:, self._translucent])
        self._kernels.launch(
            "draw_opaque", (-(-layout.opaque // _THREADS), count, 1), (_THREADS, 1, 1),
            [points, self._triangles, batch.drawn, nearest, vertices, layout.opaque, batch.drawn.shape[1],
             pixels],
        )  # fmt: skip
        tiles = -(-pixels // _TILE)
        self._kernels.launch(
            "draw_pixels", (tiles, tiles, count), (_TILE, _TILE, 1),
            [points, colors, self._triangles, nearest, batch.opacities.contiguous(), bounds, image,
             vertices, layout.opaque, layout.lashes, len(layout.triangles), pixels],
        )  # fmt: skip
        return image


def _turned(vectors: Tensor, rotation: Tensor) -> Tensor:
    """Vectors (N, V, 3) by (N, 3, 3). No matrix product: a GPU may compute it in lower precision."""
    columns = rotation[:, None].unbind(dim=-1)
    x, y, z = vectors.split(1, dim=-1)
    return x * columns[0] + y * columns[1] + z * columns[2]


def _to_camera(points: Tensor, batch: PlanBatch) -> Tensor:
    """Model space (N, V, 3) cm, float64 -> camera frame, float32 metres."""
    metres = (points - batch.origin) * METRES_PER_UNIT
    return (_turned(metres, batch.rotation) + batch.translation).float()


def _to_pixels(points: Tensor, present: Tensor, batch: PlanBatch, pixels: int) -> Tensor:
    """(N, V, 3) float32: pixel x, pixel y and depth, which is 0 where the piece is not present."""
    depth = points[..., 2:]
    plane = ((points[..., :2] / depth.clamp_min(1e-3)).double() - batch.center) / batch.window + 0.5
    return torch.cat([(plane * pixels).float(), torch.where(present, depth, 0)], dim=-1)


def _bounds(points: Tensor) -> Tensor:
    """(N, 4) px: left, top, right, bottom of what is not nearer than the near plane."""
    seen, place = points[..., 2:] >= NEAR, points[..., :2]
    low, high = torch.where(seen, place, torch.inf), torch.where(seen, place, -torch.inf)
    return torch.cat([low.amin(dim=1), high.amax(dim=1)], dim=1)


def _finished(image: Tensor, exposure: Tensor, side: int) -> Tensor:
    """Downsample (N, 4, P, P) in linear light, expose, gamma; (N, side, side, 4) uint8 premultiplied."""
    image = functional.avg_pool2d(image, image.shape[-1] // side)
    color, coverage = image.split([3, 1], dim=1)
    color = (color * (exposure[:, None, None, None] / coverage.clamp_min(1e-3))).clamp(0, 1) ** (1 / 2.2)
    picture = torch.cat([color * coverage, coverage], dim=1) * 255 + 0.5
    return picture.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
