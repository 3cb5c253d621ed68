"""Painting planned heads on the CPU (numba), one after another."""

from collections.abc import Sequence

import cv2
import numpy as np

from trg_ros.synthetic import raster
from trg_ros.synthetic.baked import HAIR_CENTER, Baked
from trg_ros.synthetic.face_model import FACE_END, FaceModel
from trg_ros.synthetic.hair import SHELL_TRIANGLES
from trg_ros.synthetic.plan import HeadPlan
from trg_ros.synthetic.shading import HAIR_OPENNESS, LUMINANCE, MIN_FACE_LUMINANCE, specular_gain


class _Scene:
    """Pieces to draw: pixel-space points, colours, triangles, opacity, back-face culling."""

    def __init__(self) -> None:
        self._points: list[np.ndarray] = []
        self._colors: list[np.ndarray] = []
        self._triangles: list[np.ndarray] = []
        self._opacity: list[np.ndarray] = []
        self._cull: list[np.ndarray] = []
        self._count = 0

    def add(self, points: np.ndarray, colors: np.ndarray, triangles: np.ndarray, cull: bool = False) -> int:
        """Append vertices and opaque triangles; returns the index of the first vertex."""
        first = self._count
        self._points.append(points.astype(np.float32))
        self._colors.append(colors.astype(np.float32))
        self._count += len(points)
        self.draw_again(triangles + first, 1.0, cull)
        return first

    def draw_again(self, triangles: np.ndarray, opacity: float, cull: bool = False) -> None:
        """More triangles over vertices that are there already."""
        self._triangles.append(triangles.astype(np.int32))
        self._opacity.append(np.full(len(triangles), opacity, np.float32))
        self._cull.append(np.full(len(triangles), cull, np.int8))

    def rasterise(self, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (P, P, 3) linear RGB and coverage (P, P), float32."""
        image, coverage = np.zeros((pixels, pixels, 3), np.float32), np.zeros((pixels, pixels), np.float32)
        depth = np.full((pixels, pixels), raster.FAR, np.float32)
        raster.rasterise(
            np.concatenate(self._points), np.concatenate(self._triangles), np.concatenate(self._colors),
            np.concatenate(self._opacity), np.concatenate(self._cull), image, depth, coverage,
        )  # fmt: skip
        return image, coverage


class CpuPainter:
    """Pictures of plans of one face model."""

    def __init__(self, model: FaceModel, baked: Baked) -> None:
        self._model, self._baked = model, baked
        self._gain = specular_gain(model)[:, None]
        self._normals = np.zeros_like(model.neutral)

    def paint(self, plans: Sequence[HeadPlan], side: int) -> np.ndarray:
        """(N, side, side, 4) uint8, RGB premultiplied by the coverage in channel 3."""
        return np.stack([self._paint(plan, side) for plan in plans])

    def _paint(self, plan: HeadPlan, side: int) -> np.ndarray:
        scene = _Scene()
        shaded, face_light = self._add_head(scene, plan)
        self._add_hair(scene, plan)
        lenses = self._add_glasses(scene, plan, face_light)
        scene.draw_again(self._model.triangles[self._model.eyelashes], plan.eyelash_opacity)
        if lenses is not None:
            scene.draw_again(*lenses)
        image, coverage = scene.rasterise(plan.camera.pixels)
        luminance = max(float((shaded[:FACE_END] @ LUMINANCE).mean()), MIN_FACE_LUMINANCE)
        return _finish(image, coverage, plan.exposure_target / luminance, side)

    def _add_head(self, scene: _Scene, plan: HeadPlan) -> tuple[np.ndarray, np.ndarray]:
        """Returns the vertices' colours (V, 3) and the mean diffuse light on the face (3,)."""
        camera, triangles = plan.camera, self._model.triangles[plan.drawn]
        raster.vertex_normals(plan.vertices, triangles, self._normals)
        points = camera.to_camera(plan.vertices)
        normals = (self._normals @ camera.rotation.T).astype(np.float32)
        diffuse, specular = plan.light.shine_on(points, normals, self._baked.openness, self._baked.visibility)
        specular *= self._gain
        face_light = diffuse[:FACE_END].mean(axis=0)
        # Openness was measured with the lips closed; behind open ones there is light.
        teeth = self._model.regions["teeth"]
        diffuse[teeth] = np.maximum(diffuse[teeth], plan.teeth_light * face_light)
        shaded = plan.look.colors * diffuse + specular
        scene.add(camera.to_pixels(points), shaded, triangles, cull=True)
        return shaded, face_light

    def _add_hair(self, scene: _Scene, plan: HeadPlan) -> None:
        shell, camera = plan.shell, plan.camera
        if shell is None:
            return
        normals = np.zeros_like(shell.vertices)
        raster.vertex_normals(shell.vertices, SHELL_TRIANGLES, normals)
        outward = shell.vertices - HAIR_CENTER
        normals *= np.where((outward * normals).sum(axis=1, keepdims=True) < 0, -1, 1)
        points = camera.to_camera(shell.vertices)
        openness = np.full(len(points), HAIR_OPENNESS, np.float32)
        turned = (normals @ camera.rotation.T).astype(np.float32)
        diffuse, specular = plan.light.shine_on(points, turned, openness)
        scene.add(
            camera.to_pixels(points), shell.colors * diffuse + specular * plan.shell_gloss, SHELL_TRIANGLES
        )

    def _add_glasses(
        self, scene: _Scene, plan: HeadPlan, face_light: np.ndarray
    ) -> tuple[np.ndarray, float] | None:
        """Frames now; returns the lenses' triangles and opacity, to be drawn last."""
        glasses, camera = plan.glasses, plan.camera
        if glasses is None:
            return None
        pixels = camera.to_pixels(camera.to_camera(glasses.vertices))
        scene.add(pixels, glasses.colors * face_light * plan.frame_light, glasses.frame)
        lens = np.tile(glasses.lens_color * face_light * plan.lens_light, (len(pixels), 1))
        first = scene.add(pixels, lens, np.zeros((0, 3), np.int32))
        return (glasses.lenses + first, plan.lens_opacity) if plan.lens_opacity else None


def _finish(image: np.ndarray, coverage: np.ndarray, exposure: float, side: int) -> np.ndarray:
    """Downsample in linear light, expose, gamma; premultiplied RGBA uint8."""
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    coverage = cv2.resize(coverage, (side, side), interpolation=cv2.INTER_AREA)[..., None]
    color = np.clip(image * (exposure / np.maximum(coverage, 1e-3)), 0, 1) ** (1 / 2.2)
    return (np.concatenate([color * coverage, coverage], axis=-1) * 255 + 0.5).astype(np.uint8)
