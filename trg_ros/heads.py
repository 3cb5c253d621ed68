"""HeadPose, the result, and how N network outputs become N of them, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trg_ros.backends.protocol import NetworkResult
from trg_ros.camera import CameraModel
from trg_ros.checkpoint import Checkpoint
from trg_ros.crop import CropWindows
from trg_ros.geometry import HEAD_R_FACE, euler_yxz_degrees, quaternion_xyzw_from_matrix, shortest_turn
from trg_ros.model.topology import SELLION
from trg_ros.opinions import Opinions
from trg_ros.uncertainty import face_origin, learned_covariances

Array = NDArray[np.float64]

#: Standard deviations where a checkpoint doesn't state its own: degrees about x, y, z; parts of the distance.
DEFAULT_ROTATION_STD_DEG = (8.0, 8.0, 8.0)
DEFAULT_TRANSLATION_STD_RELATIVE = (0.02, 0.02, 0.08)


@dataclass(frozen=True, eq=False, repr=False)
class HeadPose:
    """One head in one image. Metres; ``camera`` is the image's optical frame; see ``trg_ros.geometry``.

    Landmarks and box are computed when they are first asked for: a robot that only wants the pose doesn't
    pay for them.

    :param camera_T_head: (4, 4) pose of the network's head frame.
    :param camera_T_face: (4, 4) pose of the REP 155 face frame: origin at the sellion, x out of the face, z
        up.
    :param score: 0..1, how sure it is that this is a face; see ``HeadPoseEstimator.estimate``.
    :param covariance: (6, 6) of x y z (m) and rotations about x y z (rad), camera frame, at the face's
        origin.
    :param camera: of the image.
    :param window: the one window that the network saw.
    :param landmarks68_head: (68, 3) the Multi-PIE landmarks in the head frame, metres.
    :param make_landmarks: makes the (V, 3) of ``landmarks_head``.
    """

    camera_T_head: Array
    camera_T_face: Array
    score: float
    covariance: Array
    camera: CameraModel
    window: CropWindows
    landmarks68_head: NDArray[np.float32]
    make_landmarks: Callable[[], NDArray[np.float32]]

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: everything, without the network that it came from."""
        return self.__dict__ | {"make_landmarks": partial(np.asarray, self.landmarks_head)}

    def __repr__(self) -> str:
        x, y, z = self.position.round(3).tolist()
        yaw, pitch, roll = self.yaw_pitch_roll_deg.round(1).tolist()
        return f"HeadPose({x=}, {y=}, {z=} m, {yaw=}, {pitch=}, {roll=} deg, score={self.score:.2f})"

    @cached_property
    def landmarks_head(self) -> NDArray[np.float32]:
        """(V, 3) all landmarks in the head frame, metres; ``checkpoint.topology.triangles`` joins them."""
        return self.make_landmarks()

    @cached_property
    def landmarks_camera(self) -> Array:
        """(V, 3) all landmarks in the camera frame, metres."""
        return self.landmarks_head @ self.rotation.T + self.translation

    @cached_property
    def landmarks_image(self) -> Array:
        """(V, 2) px of all landmarks in the raw image; NaN where the lens sees nothing."""
        return self.camera.project(self.landmarks_camera)

    @cached_property
    def landmarks68_camera(self) -> Array:
        """(68, 3) the Multi-PIE landmarks in the camera frame, metres."""
        return self.landmarks68_head @ self.rotation.T + self.translation

    @cached_property
    def landmarks68_image(self) -> Array:
        """(68, 2) px of the Multi-PIE landmarks."""
        return self.camera.project(self.landmarks68_camera)

    @cached_property
    def box(self) -> Array:
        """(4,) left, top, right, bottom px of the crop that the network saw.

        Second looks are closer than TRG's box (`TRGConfig.second_look_scale`), so this is no box to give to
        ``estimate``; that is ``trg_ros.crop.box_from_landmarks68(head.landmarks68_image)``.
        """
        return self.window.to_boxes(self.camera)[0]

    @property
    def position(self) -> Array:
        """(3,) the bridge of the nose (the face frame's origin) in the camera frame, metres."""
        return self.camera_T_face[:3, 3]

    @property
    def yaw_pitch_roll_deg(self) -> Array:
        """(3,) degrees; zeros: the head faces along the camera's axis and is upright.

        Positive yaw: turned to the image's left (the person's right); positive pitch: down; positive roll:
        leaning to the image's right. See :func:`trg_ros.geometry.euler_yxz_degrees`.
        """
        return euler_yxz_degrees(self.rotation)

    @property
    def rotation(self) -> Array:
        """(3, 3) rotation from the head frame to the camera frame."""
        return self.camera_T_head[:3, :3]

    @property
    def translation(self) -> Array:
        """(3,) the head frame's origin in the camera frame, metres."""
        return self.camera_T_head[:3, 3]

    def to_dict(self) -> dict[str, Any]:
        """What there is to say about a head, as plain numbers for JSON or CSV; without the dense landmarks.

        Metres, degrees and pixels, rounded far below their accuracy. Position and quaternion are those of
        ``camera_T_face``, yaw, pitch and roll are :attr:`yaw_pitch_roll_deg`.
        """
        quaternion = quaternion_xyzw_from_matrix(self.camera_T_face[:3, :3])
        yaw, pitch, roll = self.yaw_pitch_roll_deg.round(4).tolist()
        return {
            "position_m": self.position.round(6).tolist(),
            "quaternion_xyzw": quaternion.round(8).tolist(),
            "yaw_deg": yaw,
            "pitch_deg": pitch,
            "roll_deg": roll,
            "distance_m": round(float(np.linalg.norm(self.position)), 6),
            "box": self.box.round(3).tolist(),
            "score": round(self.score, 6),
            "landmarks68": self.landmarks68_image.round(3).tolist(),
        }


def build_heads(
    result: NetworkResult,
    windows: CropWindows,
    camera: CameraModel | Sequence[CameraModel],
    scores: NDArray,
    checkpoint: Checkpoint,
    opinions: Opinions | None = None,
) -> list[HeadPose]:
    """Turn network outputs in virtual cameras into heads in the real one(s).

    :param camera: the camera of all N heads, or one for each.
    :param scores: (N,).
    :param opinions: those of ``result``, if they are known.
    """
    known = opinions or Opinions.of(result, windows)
    rotation = windows.camera_R_virtual @ result.rotation
    places = np.stack([result.translation, known.points[:, :, SELLION]], axis=2)
    places = windows.camera_R_virtual @ places
    poses = np.zeros((2, len(windows), 4, 4))
    poses[0, :, :3, :3], poses[1, :, :3, :3] = rotation, rotation @ HEAD_R_FACE
    poses[0, :, :3, 3], poses[1, :, :3, 3] = places[..., 0], places[..., 1]
    poses[..., 3, 3] = 1
    camera_T_head, camera_T_face = poses
    covariance = pose_covariances(result, windows, checkpoint, known)
    cameras = [camera] * len(windows) if isinstance(camera, CameraModel) else camera
    return [
        HeadPose(
            camera_T_head=camera_T_head[i],
            camera_T_face=camera_T_face[i],
            score=float(scores[i]),
            covariance=covariance[i],
            camera=cameras[i],
            window=windows[i : i + 1],
            landmarks68_head=result.landmarks68_head[i],
            make_landmarks=partial(result.landmarks_of, i),
        )
        for i in range(len(windows))
    ]


def pose_covariances(
    result: NetworkResult, windows: CropWindows, checkpoint: Checkpoint, opinions: Opinions | None = None
) -> Array:
    """(N, 6, 6) as `HeadPose.covariance`: what the checkpoint's uncertainty head says, or else the same
    errors for every pose."""
    if checkpoint.uncertainty is not None:
        return learned_covariances(checkpoint.uncertainty, result, windows, opinions)
    place = np.einsum("nij,nj->ni", windows.camera_R_virtual, face_origin(result))
    return covariances(place, checkpoint.info.measured_errors)


def covariances(places: Array, measured_errors: dict) -> Array:
    """(N, 6, 6) covariances of faces at (N, 3), camera frame, from a checkpoint's measured errors.

    The errors are along and across the viewing ray: ``translation_std_relative`` in parts of the distance,
    ``rotation_std_deg`` about axes whose z is the ray. They are treated as independent of each other.
    """
    across_and_along = np.asarray(
        measured_errors.get("translation_std_relative", DEFAULT_TRANSLATION_STD_RELATIVE), dtype=np.float64
    )
    about = np.deg2rad(
        np.asarray(measured_errors.get("rotation_std_deg", DEFAULT_ROTATION_STD_DEG), dtype=np.float64)
    )
    distance = np.linalg.norm(places, axis=1)
    camera_R_ray = shortest_turn(places / np.maximum(distance, 1e-9)[:, None])
    covariance = np.zeros((len(places), 6, 6))
    translation = camera_R_ray * (across_and_along * distance[:, None])[:, None]
    covariance[:, :3, :3] = translation @ translation.transpose(0, 2, 1)
    rotation = camera_R_ray * about
    covariance[:, 3:, 3:] = rotation @ rotation.transpose(0, 2, 1)
    return covariance
