"""Long hair or a scarf around a face, as an augmentation: what rendered heads lack and people have.

Curtains fall from a parting over temples and cheeks, in front of ears, neck and shoulders; fringes over the
brows; strands across the face. Layers are drawn once around a frontal face and fitted to any face that is
not too far turned, by the affine map between their 68 landmarks.
"""

import cv2
import numpy as np

SIDE = 192  # pixels of a layer
_HALF_M = 0.24  # a layer shows so many metres around the middle of the frontal face
_MAX_TURN_DEGREES = 50.0
_SCARVES = 0.05  # of all layers
_SHIFT = 3  # fractional bits of OpenCV's coordinates
_COLORS = np.array(
    [
        [20, 16, 14], [45, 30, 22], [80, 52, 34], [120, 78, 45], [165, 120, 70],
        [205, 170, 115], [225, 205, 165], [130, 60, 30], [150, 150, 150], [225, 225, 220],
    ],
    dtype=np.float64,
)  # fmt: skip
_SHARES = np.array([0.20, 0.18, 0.15, 0.12, 0.10, 0.08, 0.05, 0.06, 0.03, 0.03])


class HairLayers:
    """A wardrobe of drawn hair.

    :param frontal68: (68, 3) mean landmarks, head frame, metres.
    """

    def __init__(self, frontal68: np.ndarray, count: int, seed: int) -> None:
        plane = np.asarray(frontal68, np.float64)[:, :2]
        middle = 0.5 * (plane.min(axis=0) + plane.max(axis=0))
        frontal = ((plane - middle) / _HALF_M + 1) * (SIDE / 2)
        self._frontal = np.concatenate([frontal, np.ones((68, 1))], axis=1)
        self._layers = [_draw(frontal, np.random.default_rng([seed, index])) for index in range(count)]

    def fits(self, rotation: np.ndarray) -> np.ndarray:
        """(N,) whether heads with a camera_R_head (N, 3, 3) face the camera enough."""
        return rotation[:, 2, 2] > np.cos(np.radians(_MAX_TURN_DEGREES))

    def paint(self, image: np.ndarray, points68: np.ndarray, rng: np.random.Generator) -> None:
        """Put a layer over a face, in place.

        :param image: (S, S, 3) float32 RGB, 0..255. :param points68: (68, 2) px.
        """
        layer = self._layers[rng.integers(len(self._layers))]
        affine = np.linalg.lstsq(self._frontal, points68, rcond=None)[0].T
        column, row = np.clip(points68[29].astype(int), 3, image.shape[0] - 4)
        light = np.clip(image[row - 3 : row + 4, column - 3 : column + 4].max(axis=2).mean() / 190, 0.3, 1.25)
        fitted = cv2.warpAffine(layer, affine, image.shape[1::-1], flags=cv2.INTER_LINEAR)
        image *= 1 - fitted[..., 3:]
        image += fitted[..., :3] * np.float32(light)


def _draw(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A layer (SIDE, SIDE, 4) float32 around a face's (68, 2) px: premultiplied RGB 0..255, coverage 0..1."""
    layer = np.zeros((SIDE, SIDE, 4), np.float32)
    face = face + rng.normal(0, 1.5, 2)
    if rng.random() < _SCARVES:
        _scarf(layer, face, rng)
        return layer
    color = _COLORS[rng.choice(len(_COLORS), p=_SHARES)] * rng.uniform(0.75, 1.25)
    color = np.clip(color * rng.uniform(0.94, 1.06, 3), 0, 255)
    softness = rng.uniform(0.6, 2.0)
    brow, mouth = face[17:27].mean(axis=0), face[48:60].mean(axis=0)
    height, width = mouth[1] - brow[1], 0.5 * (face[16, 0] - face[0, 0])
    parting = brow + [width * rng.uniform(-0.8, 0.8), -height * rng.uniform(0.45, 1.0)]
    style = {
        "wave": rng.uniform(0, 0.2) * width,
        "waves": rng.uniform(1, 4),
        "length": rng.uniform(0.6, 2.5),
        "volume": rng.uniform(1.1, 2.3),
        "cover": rng.uniform(-0.12, 0.3),
        "softness": softness,
    }
    for side in (0, 1) if rng.random() < 0.8 else (int(rng.integers(2)),):
        _curtain(layer, face, parting, color, side, style, rng)
    if rng.random() < 0.4:
        _strands(layer, parting, face[27:36].mean(axis=0), height, width, color, rng)
    if rng.random() < 0.25:
        _fringe(layer, face, height, width, color, softness, rng)
    return layer


def _curtain(
    layer: np.ndarray,
    face: np.ndarray,
    parting: np.ndarray,
    color: np.ndarray,
    side: int,
    style: dict[str, float],
    rng: np.random.Generator,
) -> None:
    """Hair on one side of the face (0: the picture's left), from the parting downwards."""
    outwards = np.array([1.0 if side else -1.0, 0.0])
    jaw = face[16:7:-1] if side else face[:9]
    brow, mouth, middle = face[17:27].mean(axis=0), face[48:60].mean(axis=0), face[27:36].mean(axis=0)
    height, width, length = mouth[1] - brow[1], 0.5 * (face[16, 0] - face[0, 0]), style["length"]
    down, wide = np.array([0.0, height]), outwards * width
    cover = style["cover"] + rng.normal(0, 0.1)
    share = np.clip(cover + rng.normal(0, 0.07, 9), -0.3, 0.55)[:, None] * 0.9
    edge = jaw + (middle - jaw) * share
    stop = int(rng.integers(3, 7))  # where it leaves the jaw
    temple = 0.5 * (parting + edge[0]) + wide * rng.uniform(0, 0.25)
    falls = [edge[stop] + down * part * length + wide * rng.uniform(-0.25, 0.2) for part in (0.5, 1.0)]
    inner = _smooth(
        np.array([parting, temple, edge[0], edge[2], *([edge[stop]] if stop > 2 else []), *falls])
    )
    along = np.linspace(0, 1, len(inner))
    inner[:, 0] += style["wave"] * np.sin(along * style["waves"] * 2 * np.pi + rng.uniform(0, 6)) * along
    crown, volume = brow - down * rng.uniform(1.2, 1.7), style["volume"]
    outer = _smooth(
        np.array(
            [
                crown + wide * 0.15,
                crown + down * 0.35 + wide * volume * 0.75,
                brow + wide * volume,
                mouth + wide * volume * rng.uniform(0.9, 1.2),
                mouth + down * length + wide * volume * rng.uniform(0.8, 1.25),
                edge[stop] + down * (length + 0.1) + wide * rng.uniform(0.3, 1.0),
            ]
        )
    )
    coverage = _filled(np.concatenate([inner, outer[::-1]]), style["softness"])
    shadow = cv2.GaussianBlur(coverage, (0, 0), 6.0) * np.float32(rng.uniform(0, 0.5))
    _over(layer, np.zeros((1, 1, 3), np.float32), shadow)
    _over(layer, _locks(inner, outer, color, rng), coverage)


def _locks(inner: np.ndarray, outer: np.ndarray, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) float32: strands of many tones between two edges (40, 2), with a band of gloss."""
    count = int(max(10, 1.2 * np.abs(outer - inner).max()))
    tones = cv2.GaussianBlur(rng.normal(0, 1, (1, count)).astype(np.float32), (0, 0), 0.8)[0]
    tones = tones * rng.uniform(0.1, 0.45) + rng.normal(0, 0.08, count)
    gloss, where, shade = rng.uniform(0, 0.5), rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.9)
    gain = 1 + gloss * np.exp(-(((np.linspace(0, 1, len(inner)) - where) / 0.12) ** 2))
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = color * shade
    for strand in range(count - 1):
        begin, end = strand / (count - 1), (strand + 1.2) / (count - 1)
        left, right = (inner * (1 - share) + outer * share for share in (begin, end))
        tone = (1 + tones[strand]) * (shade + (1 - shade) * min(1.0, begin * 4))
        for start in range(0, len(inner) - 4, 4):
            quad = np.concatenate([left[start : start + 5], right[start : start + 5][::-1]])
            paint = np.clip(color * tone * gain[start], 0, 255).tolist()
            cv2.fillPoly(picture, [_fixed(quad)], paint, cv2.LINE_8, _SHIFT)
    return cv2.GaussianBlur(picture, (0, 0), 0.8)


def _strands(
    layer: np.ndarray,
    parting: np.ndarray,
    middle: np.ndarray,
    height: float,
    width: float,
    color: np.ndarray,
    rng: np.random.Generator,
) -> None:
    for _ in range(int(rng.integers(1, 6))):
        begin = parting + [width * rng.normal(0, 0.4), 0]
        end = middle + [width * rng.normal(0, 0.9), height * rng.uniform(-0.2, 1)]
        bend = 0.5 * (begin + end) + [width * rng.normal(0, 0.25), 0]
        mask = np.zeros((SIDE, SIDE), np.uint8)
        line = _fixed(_smooth(np.array([begin, bend, end])))
        cv2.polylines(mask, [line], False, 255, 1, cv2.LINE_AA, _SHIFT)
        _over(layer, color[None, None], mask.astype(np.float32) * np.float32(rng.uniform(0.2, 0.7) / 255))


def _fringe(
    layer: np.ndarray,
    face: np.ndarray,
    height: float,
    width: float,
    color: np.ndarray,
    softness: float,
    rng: np.random.Generator,
) -> None:
    up = np.array([0.0, -height])
    low = face[17:27] + up * rng.uniform(-0.15, 0.35)
    low[:, 1] += rng.normal(0, 0.03 * height, 10)
    edge = _smooth(np.concatenate([[face[0] + up * 0.1], low, [face[16] + up * 0.1]]), 60)
    edge[:, 1] += rng.normal(0, 0.03 * height, 60)
    top = face[17:27].mean(axis=0) + up * rng.uniform(1.2, 1.7)
    coverage = _filled(np.concatenate([edge, [top + [width, 0], top - [width, 0]]]), softness)
    tones = cv2.GaussianBlur(rng.normal(0, 1, (1, SIDE)).astype(np.float32), (0, 0), 1.0)
    _over(layer, np.clip(0.9 * color * (1 + 0.25 * tones[..., None]), 0, 255), coverage)


def _scarf(layer: np.ndarray, face: np.ndarray, rng: np.random.Generator) -> None:
    """A headscarf or a hood: cloth of one colour around the face, from the forehead to under the chin."""
    brow, mouth, middle = face[17:27].mean(axis=0), face[48:60].mean(axis=0), face[27:36].mean(axis=0)
    height, width = mouth[1] - brow[1], 0.5 * (face[16, 0] - face[0, 0])
    jaw = face[:17] + (middle - face[:17]) * rng.uniform(-0.12, 0.12)
    jaw[6:11, 1] += rng.uniform(-0.1, 0.35) * height
    angle = np.linspace(0.15, np.pi - 0.15, 7)[:, None]
    arch = np.concatenate([np.cos(angle) * width * rng.uniform(0.8, 1.0), -np.sin(angle) * height], axis=1)
    top = brow + arch * [1, rng.uniform(0.3, 0.95)]
    opening = _filled(_smooth(np.concatenate([jaw, top, jaw[:1]]), 80), rng.uniform(0.6, 1.5))
    around = width * rng.uniform(1.2, 1.7)
    low = mouth[1] + height * rng.uniform(1.2, 3)
    crown = np.array([[-1.3, 0], [-1, -0.75], [0, -1.0], [1, -0.75], [1.3, 0]]) * [around, 1.9 * height]
    outline = np.concatenate([crown + brow, [[brow[0] + 1.7 * around, low], [brow[0] - 1.7 * around, low]]])
    coverage = _filled(outline, 1.0) * (1 - opening)
    folds = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 3, sigmaY=14)
    shade = 1 - rng.uniform(0.2, 0.6) * cv2.GaussianBlur(opening, (0, 0), 5) + rng.uniform(0, 4) * folds
    cloth = rng.uniform(10, 240, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(10, 240))
    _over(layer, np.clip(cloth * shade[..., None], 0, 255).astype(np.float32), coverage)


def _over(layer: np.ndarray, color: np.ndarray, coverage: np.ndarray) -> None:
    """Put a colour, (H, W, 3) or a part of it, with a coverage (H, W) over a layer, in place."""
    layer *= 1 - coverage[..., None]
    layer[..., :3] += color * coverage[..., None]
    layer[..., 3] += coverage


def _filled(outline: np.ndarray, softness: float) -> np.ndarray:
    """(SIDE, SIDE) float32, 0..1."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), softness)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _smooth(points: np.ndarray, count: int = 40) -> np.ndarray:
    """A Catmull-Rom spline (count, 2) through points (K, 2)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    place = np.linspace(0, len(points) - 1, count)
    index = np.minimum(place.astype(int), len(points) - 2)
    f = (place - index)[:, None]
    a, b, c, d = (padded[index + k] for k in range(4))
    cubic = (3 * b - a - 3 * c + d) * f**3 + (2 * a - 5 * b + 4 * c - d) * f**2
    return 0.5 * (2 * b + (c - a) * f + cubic)
