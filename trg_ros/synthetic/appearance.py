"""Colours of a head: skin, lips, brows, beard, mask, clothes, eyes, mouth. Linear RGB per vertex."""

from dataclasses import dataclass, field

import numpy as np

from trg_ros.synthetic.baked import Baked, smoothstep
from trg_ros.synthetic.face_model import FACE_END, SKIN_END, FaceModel

# sRGB. Ten tones from light to dark (after the Monk scale's span); hair from black over brown, blond, red to
# white.
SKIN_TONES = np.array(
    [
        [255, 226, 208], [245, 212, 184], [236, 196, 164], [224, 177, 140], [204, 153, 113],
        [180, 126, 88], [148, 98, 66], [117, 76, 51], [88, 57, 40], [62, 41, 31],
    ], float,
)  # fmt: skip
HAIR_COLORS = np.array(
    [
        [18, 15, 14], [30, 22, 18], [45, 32, 24], [70, 48, 34], [100, 70, 45], [140, 105, 65],
        [190, 155, 105], [215, 190, 145], [120, 60, 35], [150, 145, 140], [215, 213, 210], [60, 58, 60],
    ], float,
)  # fmt: skip
IRIS_COLORS = np.array(
    [[70, 45, 25], [50, 30, 18], [95, 75, 45], [90, 110, 125], [80, 105, 80], [110, 150, 190]], float
)
MASK_COLORS = np.array([[225, 232, 238], [130, 180, 215], [30, 30, 32], [200, 200, 205]], float)


def linear(srgb: np.ndarray | list[float] | float) -> np.ndarray:
    """sRGB 0..255 -> linear 0..1 (gamma 2.2)."""
    return (np.asarray(srgb, float) / 255) ** 2.2


@dataclass
class Look:
    """colors: (V, 3) float32 linear RGB of all vertices. skin, hair: (3,) linear base colours. tone: 0 light
    .. 1 dark. iris: colours and sizes for painting eyes. attributes: what an evaluation may group by."""

    colors: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    tone: float
    iris: tuple[np.ndarray, np.ndarray, float, float]
    attributes: dict[str, float] = field(default_factory=dict)


class AppearanceSampler:
    """Draws looks for heads of one face model."""

    def __init__(self, model: FaceModel, baked: Baked) -> None:
        self._model, self._baked = model, baked
        self._skin = model.neutral[:SKIN_END]

    def draw(self, rng: np.random.Generator) -> Look:
        """A random look; the eyes are painted later, by :meth:`paint_eyes`."""
        place = rng.uniform(0, len(SKIN_TONES) - 1)
        lower = int(place)
        base = SKIN_TONES[lower] * (1 - place + lower) + SKIN_TONES[min(lower + 1, 9)] * (place - lower)
        base = linear(np.clip(base * rng.uniform(0.9, 1.1, 3) * rng.uniform(0.9, 1.08), 15, 255))
        tone = place / 9
        hair = self._hair_color(tone, rng)
        colors = np.tile(base.astype(np.float32), (SKIN_END, 1))
        attributes = {"tone": tone, "beard": 0.0, "mask": 0.0}
        self._complexion(colors, rng)
        colors, lips = self._lips(colors, base, rng)
        colors = self._brows(colors, hair, rng)
        if rng.random() < 0.35:
            colors = self._beard(colors, hair, lips, rng)
            attributes["beard"] = 1.0
        if rng.random() < 0.05:
            colors = self._mask(colors, rng)
            attributes["mask"] = 1.0
        if rng.random() < 0.9:
            colors = self._clothes(colors, rng)
        white = linear([rng.uniform(205, 245), rng.uniform(195, 235), rng.uniform(185, 230)])
        white = white * rng.uniform(0.6, 1)
        iris = linear(IRIS_COLORS[rng.integers(len(IRIS_COLORS))]) * rng.uniform(0.5, 1.4)
        full = self._inner_parts(colors, base, rng)
        return Look(
            full, base, hair, tone, (iris, white, rng.uniform(9, 16), rng.uniform(26, 32)), attributes
        )

    def _noise(self, octave: int, rng: np.random.Generator) -> np.ndarray:
        return self._baked.noise[octave, rng.integers(self._baked.noise.shape[1])]

    def _hair_color(self, tone: float, rng: np.random.Generator) -> np.ndarray:
        any_color = rng.random() < 0.45 + 0.5 * (tone < 0.5)
        srgb = HAIR_COLORS[rng.integers(len(HAIR_COLORS))] if any_color else HAIR_COLORS[rng.integers(3)]
        color = linear(np.clip(srgb * rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3), 4, 250))
        return linear(rng.uniform(10, 240, 3)) if rng.random() < 0.05 else color

    def _complexion(self, colors: np.ndarray, rng: np.random.Generator) -> None:
        """Mottling, hue, blush, dark eye sockets, wrinkled or lined eyes; in place."""
        masks = self._baked.masks
        strengths = rng.uniform(0, [0.15, 0.1, 0.09, 0.09])
        colors *= np.exp(sum(s * self._noise(octave, rng) for octave, s in enumerate(strengths)))[:, None]
        hue = rng.uniform(0, 0.06) * self._noise(0, rng) + rng.uniform(0, 0.04) * self._noise(1, rng)
        colors *= np.exp(hue[:, None] * np.array([1, -0.6, -0.5], np.float32))
        red = rng.uniform(0, 0.35) * np.exp(-((masks["cheek"] / rng.uniform(1.5, 3)) ** 2))
        red += rng.uniform(0, 0.3) * np.exp(-((masks["nose"] / rng.uniform(1, 2.2)) ** 2))
        colors *= np.exp(red[:, None] * np.array([0.25, -0.5, -0.35], np.float32))
        socket = rng.uniform(0, 0.7) * np.exp(-((masks["eye"] / rng.uniform(0.4, 1.2)) ** 2))
        colors *= np.exp(-socket[:, None] * np.array([0.8, 1, 1], np.float32))
        if rng.random() < 0.25:
            line = rng.uniform(0.5, 2) * np.exp(-((masks["eye"] / rng.uniform(0.12, 0.3)) ** 2))
            colors *= np.exp(-line)[:, None]

    def _lips(
        self, colors: np.ndarray, base: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        cover = smoothstep(self._baked.masks["lips"], -0.12, 0.12)
        strength = rng.uniform(0.3, 1)
        color = base * np.array([rng.uniform(0.75, 1.05), rng.uniform(0.4, 0.75), rng.uniform(0.4, 0.8)])
        if rng.random() < 0.2:
            color = linear([rng.uniform(90, 220), rng.uniform(10, 90), rng.uniform(20, 110)])
        return _paint(colors, color, cover * strength), cover

    def _brows(self, colors: np.ndarray, hair: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        width = rng.uniform(0.2, 0.5)
        distance = self._baked.masks["brow"] + self._noise(3, rng) * 0.06
        cover = (1 - smoothstep(distance, width * 0.6, width * 1.5)) * rng.uniform(0.1, 0.99) ** 0.6
        if rng.random() < 0.04:
            return colors
        color = hair * rng.uniform(0.4, 1) if rng.random() < 0.75 else linear(HAIR_COLORS[rng.integers(4)])
        return _paint(colors, color, cover)

    def _beard(
        self, colors: np.ndarray, hair: np.ndarray, lips: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        masks, noise2, noise3 = self._baked.masks, self._noise(2, rng), self._noise(3, rng)
        cover, size = np.zeros(SKIN_END, np.float32), rng.uniform(0.8, 1.3)
        if rng.random() < 0.75:
            jaw = 1 - smoothstep(masks["jaw"] + noise2 * 0.3, 1.3 * size, 2.9 * size)
            cover = np.maximum(cover, jaw * (1 - smoothstep(self._skin[:, 1], 0.0, 3.5)))
        if rng.random() < 0.8:
            cover = np.maximum(cover, 1 - smoothstep(masks["moustache"] + noise3 * 0.1, 0.35, 0.85 * size))
        if rng.random() < 0.7:
            cover = np.maximum(cover, 1 - smoothstep(masks["chin"] + noise2 * 0.2, 1.0, 2.2 * size))
        density = rng.uniform(0.15, 0.6) if rng.random() < 0.6 else rng.uniform(0.6, 0.97)
        cover = cover * (1 - lips) * density * (1 + 0.15 * noise3).clip(0.4, 1.2)
        return _paint(colors, hair * rng.uniform(0.5, 1.2), cover.clip(0, 1))

    def _mask(self, colors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A medical mask, painted on: over the nose or under it."""
        x, y, z = self._skin.T
        top = -1.2 + rng.uniform(-0.6, 0.6) if rng.random() < 0.2 else 1.2 + rng.uniform(-0.8, 0.8)
        cover = smoothstep(-y - 0.12 * np.abs(x), -top, -top + 0.5)
        cover = cover * (np.arange(SKIN_END) < FACE_END) * (z > rng.uniform(0, 3)) * (y > -9)
        folds = np.exp(0.12 * np.sin(y * rng.uniform(3, 6)) * rng.uniform(0, 1))[:, None]
        return _paint(colors, linear(MASK_COLORS[rng.integers(len(MASK_COLORS))]) * folds, cover)

    def _clothes(self, colors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        neckline = -11.5 + rng.uniform(-3, 1.5) + 0.12 * np.abs(self._skin[:, 0]) * rng.uniform(-1, 1.6)
        color = linear(rng.uniform(5, 250, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(5, 250)))
        cover = smoothstep(neckline - self._skin[:, 1], 0, 0.4)
        pattern = np.exp(rng.uniform(0, 0.4) * self._noise(2, rng))[:, None]
        return _paint(colors, color * pattern, cover)

    def _inner_parts(self, colors: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        regions = self._model.regions
        full = np.zeros((len(self._model.neutral), 3), np.float32)
        full[:SKIN_END] = colors
        full[regions["mouth_socket"]] = linear([110, 45, 45]) * rng.uniform(0.3, 0.9)
        full[regions["gums_and_tongue"]] = linear([165, 80, 80]) * rng.uniform(0.5, 1)
        full[regions["teeth"]] = linear([235, 225, 205]) * rng.uniform(0.6, 1)
        for side in ("left", "right"):
            full[regions[f"eye_socket_{side}"]] = base * 0.6
            full[regions[f"eyelashes_{side}"]] = linear([20, 15, 15])
        return full

    def paint_eyes(self, vertices: np.ndarray, look: Look) -> None:
        """Iris and pupil onto the eyeballs, facing where the (V, 3) vertices' irises are; in place."""
        iris, white, pupil_angle, iris_angle = look.iris
        for side in ("left", "right"):
            ball = self._model.regions[f"sclera_{side}"]
            center = vertices[ball].mean(axis=0)
            axis = vertices[self._model.regions[f"iris_{side}"]].mean(axis=0) - center
            outward = vertices[ball] - center
            cosine = outward @ axis / (np.linalg.norm(outward, axis=1) * np.linalg.norm(axis))
            angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
            outside = smoothstep(angle, iris_angle - 2, iris_angle + 2)[:, None]
            not_pupil = smoothstep(angle, pupil_angle - 1.5, pupil_angle + 1.5)[:, None]
            limbus = (1 - 0.5 * np.exp(-(((angle - iris_angle + 2) / 3) ** 2)))[:, None]
            inner = iris * limbus * not_pupil + linear([8, 8, 8]) * (1 - not_pupil)
            look.colors[ball] = white * outside + (1 - outside) * inner


def _paint(colors: np.ndarray, color: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """colors (V, 3) covered by a colour (3,) or (V, 3) as far as cover (V,) says."""
    weight = cover[:, None].astype(np.float32)
    return colors * (1 - weight) + color.astype(np.float32) * weight
