"""Per-pixel work of the augmentation, compiled: compositing, occluders, light gradients, colour, noise.

All kernels release the GIL, so that a loader thread runs beside the training step.
"""

import math

import numba as nb
import numpy as np

OCCLUDER_ELLIPSE, OCCLUDER_CAPSULE = 0, 1  # anything else: a box
OCCLUDER_COLUMNS = 14
"""kind, center x, y, half size a, b (pixels), cos, sin of its angle, softness (pixels), r, g, b (0..255),
texture weight, texture offset x, y (pixels)."""


@nb.njit(cache=True, nogil=True, fastmath=True)
def _bilinear(image, x, y, channels, out):
    """Bilinear value of image (H, W, C) at pixel (x, y), clamped at the border, into out (C,)."""
    height, width = image.shape[0], image.shape[1]
    x = min(max(x, 0.0), width - 1.001)
    y = min(max(y, 0.0), height - 1.001)
    column, row = int(x), int(y)
    fx, fy = np.float32(x - column), np.float32(y - row)
    for c in range(channels):
        top = image[row, column, c] * (1 - fx) + image[row, column + 1, c] * fx
        bottom = image[row + 1, column, c] * (1 - fx) + image[row + 1, column + 1, c] * fx
        out[c] = top * (1 - fy) + bottom * fy


@nb.njit(cache=True, nogil=True, fastmath=True)
def composite(head, head_map, background, background_map, background_gain, taps, out):
    """Sample a premultiplied head (H, W, 4) and a background (H', W', 3) and put the one over the other.

    head_map: (3, 3) homography, background_map: (2, 3) affine map, from output pixels to source pixels.
    background_gain: (3,).
    taps: samples per output pixel and axis of the head (2 when it is shrunk). out: (S, S, 3) float32, 0..255.
    """
    size = out.shape[0]
    rgba, sample, rgb = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(3, np.float32)
    weight = np.float32(1.0 / (taps * taps))
    for i in range(size):
        for j in range(size):
            rgba[:] = 0
            for ty in range(taps):
                for tx in range(taps):
                    px = j + (tx + 0.5) / taps - 0.5
                    py = i + (ty + 0.5) / taps - 0.5
                    scale = 1 / (head_map[2, 0] * px + head_map[2, 1] * py + head_map[2, 2])
                    _bilinear(
                        head,
                        (head_map[0, 0] * px + head_map[0, 1] * py + head_map[0, 2]) * scale,
                        (head_map[1, 0] * px + head_map[1, 1] * py + head_map[1, 2]) * scale,
                        4,
                        sample,
                    )
                    for c in range(4):
                        rgba[c] += sample[c] * weight
            rest = np.float32(1) - rgba[3] * np.float32(1 / 255)
            if rest > 0.002:
                _bilinear(
                    background,
                    background_map[0, 0] * j + background_map[0, 1] * i + background_map[0, 2],
                    background_map[1, 0] * j + background_map[1, 1] * i + background_map[1, 2],
                    3,
                    rgb,
                )
                for c in range(3):
                    out[i, j, c] = rgba[c] + rest * rgb[c] * background_gain[c]
            else:
                for c in range(3):
                    out[i, j, c] = rgba[c]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _coverage(kind, dx, dy, a, b):
    """Signed distance (pixels, positive inside) of a point in the occluder's own axes; ellipse: an
    approximation."""
    if kind == OCCLUDER_ELLIPSE:
        return (1 - math.sqrt((dx / a) ** 2 + (dy / b) ** 2)) * min(a, b)
    if kind == OCCLUDER_CAPSULE:
        along = max(abs(dx) - a, 0.0)
        return b - math.sqrt(along * along + dy * dy)
    return min(a - abs(dx), b - abs(dy))


@nb.njit(cache=True, nogil=True, fastmath=True)
def occlude(image, occluders, texture):
    """Paint occluders ((K, OCCLUDER_COLUMNS)) onto image (S, S, 3) float32 in place; texture: (H, W, 3)
    uint8."""
    size = image.shape[0]
    rgb = np.empty(3, np.float32)
    for k in range(occluders.shape[0]):
        o = occluders[k]
        kind = int(o[0])
        reach = (
            o[3] + o[4] + 2 * o[7]
            if kind == OCCLUDER_CAPSULE
            else math.sqrt(o[3] ** 2 + o[4] ** 2) + 2 * o[7]
        )
        top, bottom = max(0, int(o[2] - reach)), min(size, int(o[2] + reach) + 2)
        left, right = max(0, int(o[1] - reach)), min(size, int(o[1] + reach) + 2)
        for i in range(top, bottom):
            for j in range(left, right):
                x, y = j - o[1], i - o[2]
                dx, dy = o[5] * x + o[6] * y, -o[6] * x + o[5] * y
                distance = _coverage(kind, dx, dy, o[3], o[4])
                alpha = np.float32(min(max(distance / o[7] + 0.5, 0.0), 1.0))
                if alpha <= 0:
                    continue
                shade = np.float32(0.75 + 0.25 * min(1.0, max(0.0, distance / (0.5 * o[4]))))
                _bilinear(texture, o[12] + dx * 1.5, o[13] + dy * 1.5, 3, rgb)
                for c in range(3):
                    paint = o[8 + c] * shade * (1 - o[11]) + rgb[c] * o[11]
                    image[i, j, c] += alpha * (paint - image[i, j, c])


@nb.njit(cache=True, nogil=True, fastmath=True)
def light_gradient(image, nx, ny, offset, sharpness, strength):
    """Darken one side of image (S, S, 3) in place: a soft or hard shadow edge with normal (nx, ny)."""
    size = image.shape[0]
    for i in range(size):
        for j in range(size):
            t = (nx * (j / size - 0.5) + ny * (i / size - 0.5) - offset) * sharpness
            gain = np.float32(1 - strength / (1 + math.exp(-min(max(t, -30.0), 30.0))))
            for c in range(3):
                image[i, j, c] *= gain


@nb.njit(cache=True, nogil=True, fastmath=True)
def develop(
    image, gain, offset, saturation, gray_weights, gamma, noise, noise_start, noise_strength, chroma, out
):
    """Colour, contrast, gamma and noise: image (S, S, 3) float32 0..255 -> out (S, S, 3) uint8.

    gain (3,), offset (scalar): linear change of the 0..1 values. saturation: 1 keeps the colours, 0 is grey
    made with gray_weights (3,). noise: (N,) standard normal numbers, read from noise_start on; chroma: 1 for
    noise per channel.
    """
    table = np.empty(1025, np.float32)
    for k in range(1025):
        table[k] = 255 * (k / 1024) ** gamma
    size = image.shape[0]
    position, length = noise_start, noise.shape[0] - 4
    for i in range(size):
        for j in range(size):
            r, g, b = image[i, j, 0], image[i, j, 1], image[i, j, 2]
            gray = gray_weights[0] * r + gray_weights[1] * g + gray_weights[2] * b
            position += 3
            if position >= length:
                position -= length
            for c in range(3):
                value = (gray + (image[i, j, c] - gray) * saturation) * gain[c] * np.float32(1 / 255) + offset
                value = min(max(value, np.float32(0)), np.float32(1))
                value = table[int(value * 1024)] + noise_strength * noise[position + (c if chroma else 0)]
                out[i, j, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
