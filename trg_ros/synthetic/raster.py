"""The compiled inner loops of the renderer: z-buffer, vertex normals, vertex lighting, rays. CPU (numba).

Single-threaded and free of data races, so that a picture is bit-identical whenever it is rendered again.
"""

import math

import numba as nb
import numpy as np

NEAR = 0.03  # metres: nothing nearer to the camera is drawn
FAR = 1e9  # depth of pixels where nothing was drawn
VISIBILITY_TAPS = 12


@nb.njit(cache=True, nogil=True, fastmath=True)
def rasterise(points, triangles, colors, alpha, cull, image, depth, coverage):
    """Draw Gouraud-shaded triangles in the given order (opaque ones before translucent ones).

    points: (V, 3) float32 pixel x, pixel y (pixel centres at +0.5), depth. triangles: (T, 3) int32. colors:
    (V, 3) float32. alpha: (T,) float32, below 1 blends and leaves the depth. cull: (T,) int8, 1 drops
    triangles seen from behind. image (S, S, 3), depth (S, S), coverage (S, S): float32, written.
    """
    height, width = depth.shape
    for k in range(triangles.shape[0]):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
        x1, y1, z1 = points[b, 0], points[b, 1], points[b, 2]
        x2, y2, z2 = points[c, 0], points[c, 1], points[c, 2]
        if z0 < NEAR or z1 < NEAR or z2 < NEAR:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0 or (cull[k] == 1 and area > 0):
            continue
        left = max(0, math.ceil(min(x0, x1, x2) - 0.5))
        right = min(width - 1, math.floor(max(x0, x1, x2) - 0.5))
        top = max(0, math.ceil(min(y0, y1, y2) - 0.5))
        bottom = min(height - 1, math.floor(max(y0, y1, y2) - 0.5))
        if left > right or top > bottom:
            continue
        inverse = np.float32(1.0) / area
        opacity = alpha[k]
        step0, step1 = (y1 - y2) * inverse, (y2 - y0) * inverse
        for y in range(top, bottom + 1):
            py = np.float32(y + 0.5)
            px = np.float32(left + 0.5)
            w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inverse
            w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inverse
            for x in range(left, right + 1):
                w2 = 1 - w0 - w1
                if w0 >= -1e-6 and w1 >= -1e-6 and w2 >= -1e-6:
                    z = w0 * z0 + w1 * z1 + w2 * z2
                    if z < depth[y, x]:
                        for channel in range(3):
                            value = (
                                w0 * colors[a, channel] + w1 * colors[b, channel] + w2 * colors[c, channel]
                            )
                            if opacity < 1:
                                value = opacity * value + (1 - opacity) * image[y, x, channel]
                            image[y, x, channel] = value
                        if opacity >= 1:
                            depth[y, x] = z
                            coverage[y, x] = 1
                        else:
                            coverage[y, x] = opacity + (1 - opacity) * coverage[y, x]
                w0 += step0
                w1 += step1


@nb.njit(cache=True, nogil=True, fastmath=True)
def vertex_normals(vertices, triangles, normals):
    """Area-weighted unit normals (V, 3) of vertices (V, 3), written."""
    normals[:] = 0
    for k in range(triangles.shape[0]):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(normals.shape[0]):
        length = math.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        for axis in range(3):
            normals[i, axis] /= length


@nb.njit(cache=True, nogil=True, fastmath=True)
def light_vertices(points, normals, visibility, openness, ambient, surface, lights, weights, taps):
    """Diffuse and specular light at vertices.

    points, normals: (V, 3) camera frame. visibility: (D, V) uint8, 1 where direction d is free, or (1, 1) for
    none. openness: (V,) float32 ambient occlusion. ambient: (3,). surface: [occlusion power, sky slope,
    specular, exponent]. lights: (K, 8) direction to the light (3), colour (3), wrap, shadow strength.
    weights, taps: (K, VISIBILITY_TAPS) the directions whose visibility makes up the shadow. Returns diffuse
    (V, 3) and specular (V, 3), float32.
    """
    count = points.shape[0]
    diffuse, specular = np.empty((count, 3), np.float32), np.zeros((count, 3), np.float32)
    shadows = visibility.shape[0] > 1
    for i in range(count):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        distance = math.sqrt(px * px + py * py + pz * pz)
        base = max(openness[i], np.float32(1e-3)) ** surface[0] * (1 - surface[1] * ny)
        for c in range(3):
            diffuse[i, c] = base * ambient[c]
        for k in range(lights.shape[0]):
            lx, ly, lz, wrap = lights[k, 0], lights[k, 1], lights[k, 2], lights[k, 6]
            falling = (nx * lx + ny * ly + nz * lz + wrap) / (1 + wrap)
            if falling <= 0:
                continue
            lit = np.float32(1)
            if shadows:
                lit = np.float32(0)
                for q in range(taps.shape[1]):
                    lit += weights[k, q] * visibility[taps[k, q], i]
            lit = 1 - (1 - lit) * lights[k, 7]
            hx, hy, hz = lx - px / distance, ly - py / distance, lz - pz / distance
            half = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
            facing = max(np.float32(0), (nx * hx + ny * hy + nz * hz) / half)
            shine = facing ** surface[3] * surface[2] * lit
            for c in range(3):
                diffuse[i, c] += falling * lit * lights[k, 3 + c]
                specular[i, c] += shine * lights[k, 3 + c]
    return diffuse, specular


@nb.njit(cache=True, nogil=True)
def cast_rays(origin, directions, vertices, triangles, hit_triangle, hit_weights, distance):
    """Farthest hits of rays from one point with triangles (Moeller-Trumbore): triangle, barycentric weights,
    distance."""
    for i in range(directions.shape[0]):
        d = directions[i]
        best = -1.0
        for k in range(triangles.shape[0]):
            p0 = vertices[triangles[k, 0]]
            e1, e2 = vertices[triangles[k, 1]] - p0, vertices[triangles[k, 2]] - p0
            h = np.array(
                [d[1] * e2[2] - d[2] * e2[1], d[2] * e2[0] - d[0] * e2[2], d[0] * e2[1] - d[1] * e2[0]]
            )
            determinant = e1[0] * h[0] + e1[1] * h[1] + e1[2] * h[2]
            if abs(determinant) < 1e-12:
                continue
            f = 1.0 / determinant
            s = origin - p0
            u = f * (s[0] * h[0] + s[1] * h[1] + s[2] * h[2])
            if u < 0 or u > 1:
                continue
            q = np.array(
                [s[1] * e1[2] - s[2] * e1[1], s[2] * e1[0] - s[0] * e1[2], s[0] * e1[1] - s[1] * e1[0]]
            )
            v = f * (d[0] * q[0] + d[1] * q[1] + d[2] * q[2])
            if v < 0 or u + v > 1:
                continue
            t = f * (e2[0] * q[0] + e2[1] * q[1] + e2[2] * q[2])
            if t > best:
                best = t
                hit_triangle[i] = k
                hit_weights[i, 0], hit_weights[i, 1], hit_weights[i, 2] = 1 - u - v, u, v
        distance[i] = best
