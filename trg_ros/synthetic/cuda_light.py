"""Normals and light of a batch of heads as tensors: what `trg_ros.synthetic.raster` computes head by head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class Normals:
    """Area-weighted vertex normals of one mesh.

    :param triangles: (T, 3) vertex numbers. :param count: number of vertices.
    """

    def __init__(self, triangles: np.ndarray, count: int, device: torch.device) -> None:
        self._corners = torch.from_numpy(triangles.T.astype(np.int64)).to(device)
        self._around = torch.from_numpy(_triangles_around(triangles, count)).to(device)

    def __call__(self, vertices: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Unit normals (N, V, 3) of vertices (N, V, 3).

        :param drawn: (N, T) bool, the triangles that count; None: all.
        """
        a, b, c = (vertices[:, corner] for corner in self._corners)
        faces = torch.linalg.cross(b - a, c - a)
        if drawn is not None:
            faces = faces * drawn[..., None]
        faces = torch.cat([faces, torch.zeros_like(faces[:, :1])], dim=1)
        normals = torch.zeros_like(vertices)
        for column in self._around:
            normals += faces[:, column]
        return normals / (length(normals) + 1e-12)


def _triangles_around(triangles: np.ndarray, count: int) -> np.ndarray:
    """(most, V) int64: the triangles around each vertex in their order, then T, which stands for none."""
    vertex = triangles.reshape(-1)
    order = np.argsort(vertex, kind="stable")
    numbers = np.bincount(vertex, minlength=count)
    place = np.arange(len(vertex)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    around = np.full((numbers.max(), count), len(triangles), np.int64)
    around[place, vertex[order]] = order // 3
    return around


@dataclass(frozen=True, eq=False)
class BatchLight:
    """The light on N heads, float32: ambient (N, 3), surface (N, 4), lights (N, K, 8), weights (N, K, Q) and
    taps (N, K, Q) int64 as `trg_ros.synthetic.lighting.Lighting` has them; absent lamps are black."""

    ambient: Tensor
    surface: Tensor
    lights: Tensor
    weights: Tensor
    taps: Tensor

    def shine_on(
        self, points: Tensor, normals: Tensor, openness: Tensor, visibility: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Diffuse and specular light (N, V, 3).

        :param points: (N, V, 3) camera frame; normals likewise. :param openness: (V,) or (1,).
        :param visibility: (D, V) uint8; None: no shadows.
        """
        occlusion, sky, gloss, exponent = self.surface[..., None].unbind(1)
        base = openness.clamp_min(1e-3) ** occlusion * (1 - sky * normals[..., 1])
        diffuse = base[..., None] * self.ambient[:, None]
        specular = torch.zeros_like(diffuse)
        view = points / length(points)
        for k in range(self.lights.shape[1]):
            lamp = self.lights[:, k, None]
            direction, color, wrap, strength = lamp.split([3, 3, 1, 1], dim=-1)
            falling = (_dot(normals, direction) + wrap) / (1 + wrap)
            lit = torch.ones_like(falling)
            if visibility is not None:
                free = visibility[self.taps[:, k]] * self.weights[:, k, :, None]
                lit = 1 - (1 - free.sum(dim=1)[..., None]) * strength
            middle = direction - view
            facing = (_dot(normals, middle) / (length(middle) + 1e-9)).clamp_min(0)
            shine = facing ** exponent[..., None] * gloss[..., None] * lit
            diffuse += torch.where(falling > 0, falling * lit, 0) * color
            specular += torch.where(falling > 0, shine, 0) * color
        return diffuse, specular


def length(vectors: Tensor) -> Tensor:
    """(..., 1) of (..., 3)."""
    return _dot(vectors, vectors).sqrt()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(..., 1) of (..., 3), summed in one order everywhere."""
    product = a * b
    return product[..., 0:1] + product[..., 1:2] + product[..., 2:3]
