"""The ICT-FaceKit morphable head, packed into one .npz file that the user points to.

ICT-FaceKit (light) is MIT licensed, (c) USC Institute for Creative Technologies; nothing of it is part of
this package. Model space: centimetres, x towards the person's left, y up, z out of the face.
Head frame of rendered labels: metres, x towards the person's left, y down, z into the head; the origin is the
mean of the neutral face's 68 landmarks (about 4 cm below and 1.3 cm behind the sellion), on the plane of
symmetry.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trg_ros.errors import InputError
from trg_ros.plain_pickle import UNREADABLE

MODEL_TO_HEAD = np.diag([1.0, -1.0, -1.0])
METRES_PER_UNIT = 0.01
SKIN_END = 11248  # vertices of face, head and neck come first
FACE_END = 9409
_INVISIBLE = ("M_LacrimalFluid", "M_EyeBlend", "M_EyeOcclusion", "M_IrisLeft", "M_IrisRight")
_ARRAYS = (
    "neutral", "identity", "expression", "expression_names", "quads", "quad_material", "landmarks68",
    "group_names", "group_ranges",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Geometry bases and topology.

    neutral: (V, 3) float32 centimetres. identity: (100, 3V), expression: (57, 3V) float32 offsets per unit
    weight. triangles: (T, 3) int32 of everything that is drawn; eyelashes, teeth, skin: (T,) bool masks.
    regions: vertex ranges by ICT's group names. digest: identifies the file.
    """

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]
    triangles: np.ndarray
    eyelashes: np.ndarray
    teeth: np.ndarray
    skin: np.ndarray
    landmarks68: np.ndarray
    regions: dict[str, slice]
    digest: str

    @classmethod
    def load(cls, path: Path | str) -> "FaceModel":
        """:raises InputError: when the file is missing or not a packed ICT-FaceKit model."""
        try:
            with np.load(path) as archive:
                arrays = {name: archive[name] for name in _ARRAYS if name in archive.files}
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or "not an .npz file"
            raise InputError(
                f"can't read the face model {path} ({reason}); see docs/training.md on where to get it"
            ) from error
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise InputError(f"{path} is not a packed ICT-FaceKit model: {missing[0]!r} is missing")
        triangles, material = _triangulate(arrays["quads"], arrays["quad_material"])
        seen = ~np.isin(material, _INVISIBLE)
        triangles, material = triangles[seen], material[seen]
        ranges = zip(arrays["group_names"], arrays["group_ranges"], strict=True)
        digest = hashlib.sha256(arrays["neutral"].tobytes() + arrays["identity"].tobytes()).hexdigest()[:16]
        return cls(
            neutral=arrays["neutral"].astype(np.float32),
            identity=arrays["identity"].reshape(len(arrays["identity"]), -1).astype(np.float32),
            expression=arrays["expression"].reshape(len(arrays["expression"]), -1).astype(np.float32),
            expression_names=tuple(str(name) for name in arrays["expression_names"]),
            triangles=triangles,
            eyelashes=material == "M_EyeLashes",
            teeth=np.isin(material, ("M_GumsTongue", "M_Teeth")),
            skin=np.isin(material, ("M_Face", "M_BackHead")),
            landmarks68=arrays["landmarks68"].astype(np.int64),
            regions={str(name): slice(int(first), int(last)) for name, (first, last) in ranges},
            digest=digest,
        )

    @property
    def origin(self) -> np.ndarray:
        """The head frame's origin in model space, (3,) centimetres."""
        center = self.neutral[self.landmarks68].mean(axis=0, dtype=np.float64)
        return np.array([0.0, center[1], center[2]])

    def shapes(self, identity_weights: np.ndarray, expression_weights: np.ndarray) -> np.ndarray:
        """Vertices (N, V, 3) float32, centimetres, of N heads at once (two matrix products)."""
        vertices = identity_weights.astype(np.float32) @ self.identity
        vertices += expression_weights.astype(np.float32) @ self.expression
        vertices += self.neutral.reshape(1, -1)
        return vertices.reshape(len(vertices), -1, 3)

    def to_head_frame(self, points: np.ndarray) -> np.ndarray:
        """Model space (..., 3) cm -> head frame (..., 3) m."""
        return ((points - self.origin) * METRES_PER_UNIT) @ MODEL_TO_HEAD


def _triangulate(quads: np.ndarray, material: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (T, 3) int32 and their materials; a negative fourth index marks what is a triangle
    already."""
    four = quads[:, 3] >= 0
    triangles = np.concatenate([quads[:, :3], quads[four][:, [0, 2, 3]]]).astype(np.int32)
    return triangles, np.concatenate([material, material[four]]).astype(str)
