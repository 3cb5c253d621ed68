"""Small data sets in the original formats, written from heads whose truth is known.

Every writer goes the way of the format's authors (OpenGL's pipeline with row vectors, a depth camera in
millimetres), not the way of the loaders, and draws its pictures by it.
"""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat
from scipy.spatial import Delaunay
from scipy.spatial.transform import Rotation

from trg_ros.datasets.symmetry import FLIP68
from trg_ros.geometry import make_transform
from trg_ros.model.topology import Topology

PROJECTION = np.array(
    [[1.57443701, 0, 0, 0], [0, 1.57443701, 0, 0], [0, 0, -0.99999976, -1.0], [0, 0, -0.001, 0]]
)
MIDLINE, PAIRS = 20, 600


@dataclass(frozen=True)
class Truth:
    """One head: camera_T_head (4, 4), landmarks_head (1220, 3) metres, package's frames."""

    camera_T_head: np.ndarray
    landmarks_head: np.ndarray


def face() -> tuple[np.ndarray, Topology]:
    """A mirror-symmetric egg (1220, 3) with a nose, and its topology; the 68 points are spread anyhow, but
    in pairs."""
    rng = np.random.default_rng(5)
    y = np.concatenate([np.linspace(-0.95, 0.95, MIDLINE), rng.uniform(-0.95, 0.95, PAIRS)])
    x = np.concatenate([np.zeros(MIDLINE), rng.uniform(0.03, 1, PAIRS) * np.sqrt(1 - y[MIDLINE:] ** 2)])
    z = -np.sqrt(np.clip(1 - x**2 - y**2, 0, 1)) - 0.35 * np.exp(-20 * (x**2 + (y - 0.1) ** 2))
    half = np.stack([0.075 * x, 0.1 * y, 0.07 * z], axis=1)
    points = np.concatenate([half, half[MIDLINE:] * (-1, 1, 1)])
    flip = np.concatenate(
        [
            np.arange(MIDLINE),
            np.arange(MIDLINE + PAIRS, MIDLINE + 2 * PAIRS),
            np.arange(MIDLINE, MIDLINE + PAIRS),
        ]
    )
    landmarks68 = np.zeros(68, np.int64)
    middle = np.flatnonzero(np.arange(68) == FLIP68)
    landmarks68[middle] = rng.choice(MIDLINE, len(middle), replace=False)
    left = np.flatnonzero(np.arange(68) < FLIP68)
    landmarks68[left] = MIDLINE + rng.choice(PAIRS, len(left), replace=False)
    landmarks68[FLIP68[left]] = flip[landmarks68[left]]
    triangles = Delaunay(points[:, :2]).simplices
    sampled = np.sort(rng.choice(len(points), 305, replace=False))
    return points, Topology(triangles, sampled, landmarks68, flip)


def heads(count: int, seed: int = 0, near: float = 0.4, far: float = 1.0) -> list[Truth]:
    """Heads of different shapes and poses, all inside the pictures that the writers make."""
    rng = np.random.default_rng(seed)
    mean, _ = face()
    truths = []
    for _ in range(count):
        rotation = Rotation.from_euler("yxz", rng.uniform(-35, 35, 3), degrees=True).as_matrix()
        z = rng.uniform(near, far)
        translation = np.array([*(rng.uniform(-0.12, 0.12, 2) * z), z])
        truths.append(Truth(make_transform(rotation, translation), mean * rng.uniform(0.9, 1.1, 3)))
    return truths


def blobs(points_px: np.ndarray, width: int, height: int, sigma: float = 2.5) -> np.ndarray:
    """A picture (H, W, 3) uint8 BGR, dark, with a bright round spot at every exact position (N, 2)."""
    image, reach = np.zeros((height, width)), int(6 * sigma)
    for u, v in points_px:
        left, top = max(0, int(u) - reach), max(0, int(v) - reach)
        window = image[top : max(0, int(v) + reach), left : max(0, int(u) + reach)]
        rows, columns = np.mgrid[top : top + window.shape[0], left : left + window.shape[1]]
        np.maximum(window, 235 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * sigma**2)), out=window)
    return np.repeat((image + 10)[..., None], 3, axis=2).round().astype(np.uint8)


def write_assets(folder: Path, flip: bool = True) -> None:
    """The side files of ARKit's mesh."""
    folder.mkdir(parents=True, exist_ok=True)
    _, topology = face()
    np.savetxt(folder / "projection_matrix.txt", PROJECTION)
    np.save(folder / "kpt_ind.npy", topology.landmarks68)
    np.save(folder / "triangles.npy", topology.triangles.astype(np.uint16))
    (folder / "arkit_subsample.pkl").write_bytes(pickle.dumps({"1220_to_305": topology.sampled}))
    if flip:
        np.save(folder / "flip_index.npy", topology.flip)


def write_arkitface(
    root: Path,
    truths: list[Truth],
    split: str = "test",
    size: tuple[int, int] = (320, 320),
    sigma: float = 2.5,
) -> None:
    """ARKitFace as its authors store it: OpenGL axes, row vectors."""
    write_assets(root / "npy")
    _, topology = face()
    lists = root / "ARKitFace_list" / "list"
    lists.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, truth in enumerate(truths):
        subject, action, picture = f"{100 + index // 2}", "01_Neutral", f"16162122{index:05d}"
        place = Path(subject) / action
        turn = Rotation.from_euler("x", 180, degrees=True).as_matrix()  # y up, z towards the viewer
        verts = truth.landmarks_head @ turn.T
        row_matrix = np.eye(4)
        row_matrix[:3, :3] = (turn @ truth.camera_T_head[:3, :3] @ turn.T).T
        row_matrix[3, :3] = turn @ truth.camera_T_head[:3, 3]
        info = root / f"ARKitFace_info_{split}" / "info" / place
        info.mkdir(parents=True, exist_ok=True)
        np.savez(info / f"{picture}_info.npz", verts=verts.astype(np.float32), R_t=row_matrix)
        image = root / f"ARKitFace_image_{split}" / "image" / place
        image.mkdir(parents=True, exist_ok=True)
        points = opengl_pixels(verts[topology.landmarks68], row_matrix, *size)
        cv2.imwrite(str(image / f"{picture}_ar.jpg"), blobs(points, *size, sigma))
        rows.append((subject, action, picture))
    with (lists / f"ARKitFace_{split}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("subject_id", "facial_action", "img_id"), *rows])


def opengl_pixels(verts: np.ndarray, row_matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """(N, 2) px: model -> clip -> normalised device coordinates -> viewport, whose rows count from below."""
    clip = np.c_[verts, np.ones(len(verts))] @ row_matrix @ PROJECTION
    device = clip[:, :2] / clip[:, 3:]
    return np.stack([(device[:, 0] + 1) / 2 * width, height - (device[:, 1] + 1) / 2 * height], axis=1)


BIWI_INTRINSICS = np.array([[517.679, 0, 320], [0, 517.679, 240.5], [0, 0, 1]])
BIWI_ROTATION = Rotation.from_rotvec([-0.0151, 0.0093, -0.0044]).as_matrix()
BIWI_TRANSLATION_MM = np.array([-24.0198, 5.8896, -13.2308])


def write_biwi(root: Path, truths: list[Truth], sequence: str = "01") -> None:
    """One sequence of BIWI: poses of the depth camera, millimetres; the mesh is that of the first head."""
    folder = root / sequence
    folder.mkdir(parents=True)
    blocks = [
        BIWI_INTRINSICS, np.zeros((1, 4)), BIWI_ROTATION, BIWI_TRANSLATION_MM[None], np.array([[640, 480]]),
    ]  # fmt: skip
    text = "\n\n".join(
        "\n".join(" ".join(f"{value:.12g}" for value in row) + " " for row in block) for block in blocks
    )
    (folder / "rgb.cal").write_text(text + "\n")
    mean, topology = face()
    lines = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in 1000 * mean]
    lines += [f"f {a}/1/1 {b}/1/1 {c}/1/1" for a, b, c in topology.triangles + 1]
    (root / f"{sequence}.obj").write_text("# a head\n" + "\n".join(lines))
    for index, truth in enumerate(truths):
        in_colour = truth.camera_T_head
        rotation = BIWI_ROTATION.T @ in_colour[:3, :3]
        translation_mm = BIWI_ROTATION.T @ (1000 * in_colour[:3, 3] - BIWI_TRANSLATION_MM)
        rows = "\n".join(" ".join(f"{value:.12g}" for value in row) + " " for row in rotation)
        pose = rows + "\n\n" + " ".join(f"{value:.12g}" for value in translation_mm) + " \n"
        (folder / f"frame_{index + 3:05d}_pose.txt").write_text(pose)
        points = mean[topology.landmarks68] @ in_colour[:3, :3].T + in_colour[:3, 3]
        pixels = points @ BIWI_INTRINSICS.T
        cv2.imwrite(
            str(folder / f"frame_{index + 3:05d}_rgb.png"), blobs(pixels[:, :2] / pixels[:, 2:], 640, 480)
        )


def write_300wlp(
    root: Path, count: int = 3, size: int = 450, truths: list[Truth] | None = None
) -> dict[str, np.ndarray]:
    """300W-LP with the landmarks folder and mirrored pictures; returns the landmarks (68, 2) px by name.

    :param truths: heads to draw in the middle of the pictures; None: points anywhere.
    """
    rng = np.random.default_rng(3)
    truth: dict[str, np.ndarray] = {}
    for index in range(count):
        name = f"AFW_{1000 + index}_1_0"
        points = rng.uniform(0.25 * size, 0.7 * size, (68, 2))
        if truths is not None:
            seen = truths[index].landmarks_head @ truths[index].camera_T_head[:3, :3].T + (0, 0, 0.6)
            points = (500 * seen[:, :2] / seen[:, 2:] + size / 2)[face()[1].landmarks68]
        image = blobs(points, size, size)
        mirrored = np.ascontiguousarray(image[:, ::-1])
        for folder, picture in (("AFW", image), ("AFW_Flip", mirrored)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / f"{name}.jpg"), picture)
            savemat(root / folder / f"{name}.mat", {"pt2d": points.T, "Pose_Para": np.zeros((1, 7))})
        (root / "landmarks" / "AFW").mkdir(parents=True, exist_ok=True)
        savemat(root / "landmarks" / "AFW" / f"{name}_pts.mat", {"pts_2d": points + 1, "pts_3d": points})
        truth[f"AFW/{name}"] = points
        truth[f"AFW_Flip/{name}"] = np.stack([size - 1 - points[:, 0], points[:, 1]], axis=1)[FLIP68]
    (root / "files.txt").write_text("\n".join(truth) + "\n")
    return truth


def write_rendered(root: Path, count: int, seed: int = 1, side: int = 96) -> None:
    """One shard of the rendered heads' format; the pictures show the 68 points as spots."""
    from trg_ros.synthetic.landmark_set import default_landmark_set

    rng = np.random.default_rng(seed)
    chosen = default_landmark_set()
    mean, _ = face()
    shape = mean[rng.permutation(len(mean))[: len(chosen.vertices)]]
    images, labels = [], {key: [] for key in ("rotation", "translation", "landmarks_head", "box")}
    for truth in heads(count, seed):
        rotation, translation = truth.camera_T_head[:3, :3], truth.camera_T_head[:3, 3]
        points = shape[chosen.landmarks68] @ rotation.T + translation
        plane = points[:, :2] / points[:, 2:]
        low, high = plane.min(axis=0), plane.max(axis=0)
        box = np.array([*(low + high) / 2, 1.5 * (high - low).max()])
        per_unit = side / (1.4 * box[2])
        spots = blobs((plane - box[:2]) * per_unit + side / 2 - 0.5, side, side, sigma=1.5)
        images.append(np.concatenate([spots, np.full_like(spots[..., :1], 255)], axis=2))
        values = (rotation, translation, shape, box)
        for key, value in zip(labels, values, strict=True):
            labels[key].append(value.astype(np.float32))
    shard = root / "shard_00000000"
    shard.mkdir(parents=True)
    np.save(shard / "images.npy", np.stack(images))
    np.savez(shard / "labels.npz", **{key: np.stack(value) for key, value in labels.items()})
    (shard / "info.json").write_text(json.dumps({"first": 0, "count": count, "margin": 1.4}))
