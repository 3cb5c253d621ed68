"""Rotations, transforms and frames, against scipy and against heads whose pose is known by construction."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from trg_ros import geometry
from trg_ros.errors import InputError

finite = st.floats(-2, 2, allow_nan=False, width=64)
angles = st.floats(-179.9, 179.9)


@st.composite
def rotations(draw: st.DrawFn, count: int = 3) -> np.ndarray:
    quaternions = draw(arrays(np.float64, (count, 4), elements=finite))
    assume((np.linalg.norm(quaternions, axis=1) > 1e-3).all())
    return Rotation.from_quat(quaternions).as_matrix()


@given(arrays(np.float64, (4, 6), elements=finite))
def test_rotation_from_6d_is_a_rotation_that_keeps_its_first_axis(rotation_6d: np.ndarray) -> None:
    first, second = rotation_6d[:, 0::2], rotation_6d[:, 1::2]
    assume((np.linalg.norm(np.cross(first, second), axis=1) > 1e-2).all())
    rotation = geometry.rotation_from_6d(rotation_6d)
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-9)
    np.testing.assert_allclose(np.cross(rotation[..., 0], first), 0, atol=1e-9)
    assert ((rotation[..., 1] * second).sum(1) > 0).all()


@given(rotations())
def test_rotation_6d_of_a_rotation_is_its_first_two_columns_by_rows(rotation: np.ndarray) -> None:
    first_two_columns = rotation[..., :2].reshape(len(rotation), 6)
    np.testing.assert_allclose(geometry.rotation_from_6d(first_two_columns), rotation, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_rotation_from_6d_of_torch_agrees_with_numpy_for_every_batch_size(count: int) -> None:
    rotation_6d = np.random.default_rng(count).standard_normal((count, 6))
    one_by_one = np.stack([geometry.rotation_from_6d(row) for row in rotation_6d])
    together = geometry.rotation_from_6d(torch.from_numpy(rotation_6d))
    np.testing.assert_allclose(together.numpy(), one_by_one, atol=1e-12)


@given(rotations())
def test_quaternions_agree_with_scipy(rotation: np.ndarray) -> None:
    quaternion = geometry.quaternion_xyzw_from_matrix(rotation)
    assert (quaternion[:, 3] >= 0).all()
    np.testing.assert_allclose(Rotation.from_quat(quaternion).as_matrix(), rotation, atol=1e-12)
    np.testing.assert_allclose(geometry.matrix_from_quaternion_xyzw(quaternion), rotation, atol=1e-12)
    np.testing.assert_allclose(geometry.matrix_from_quaternion_xyzw(-3 * quaternion), rotation, atol=1e-12)


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, -1, 1]])
@pytest.mark.parametrize("degrees", [0, 1e-6, 90, 179.999999, 180])
def test_quaternions_are_exact_at_half_turns(axis: list[float], degrees: float) -> None:
    vector = np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)
    rotation = Rotation.from_rotvec(vector).as_matrix()
    quaternion = geometry.quaternion_xyzw_from_matrix(rotation)
    assert quaternion.shape == (4,)
    np.testing.assert_allclose(geometry.matrix_from_quaternion_xyzw(quaternion), rotation, atol=1e-12)


def test_zero_quaternion_is_refused() -> None:
    with pytest.raises(InputError, match="identity is"):
        geometry.matrix_from_quaternion_xyzw(np.zeros(4))


@given(yaw=angles, pitch=st.floats(-89, 89), roll=angles)
def test_euler_angles_are_those_of_scipys_extrinsic_yxz(yaw: float, pitch: float, roll: float) -> None:
    rotation = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_matrix()
    np.testing.assert_allclose(geometry.euler_yxz_degrees(rotation), [yaw, pitch, roll], atol=1e-6)
    in_torch = geometry.euler_yxz_degrees(torch.from_numpy(rotation)[None])
    np.testing.assert_allclose(in_torch.numpy(), [[yaw, pitch, roll]], atol=1e-6)


@given(yaw=angles, pitch=st.sampled_from([-90.0, 90.0]), roll=angles)
def test_euler_angles_at_the_pole_still_describe_the_rotation(yaw: float, pitch: float, roll: float) -> None:
    rotation = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_matrix()
    found = geometry.euler_yxz_degrees(rotation)
    assert found[2] == 0
    again = Rotation.from_euler("yxz", found, degrees=True).as_matrix()
    np.testing.assert_allclose(again, rotation, atol=1e-6)


@given(rotations(count=1), st.floats(0, 180), arrays(np.float64, 3, elements=finite))
def test_geodesic_distance_is_the_angle_between(
    rotation: np.ndarray, degrees: float, axis: np.ndarray
) -> None:
    assume(np.linalg.norm(axis) > 1e-3)
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    distance = geometry.geodesic_distance(rotation, rotation @ turn)
    np.testing.assert_allclose(distance, np.radians(degrees), atol=1e-7)
    in_torch = geometry.geodesic_distance(torch.from_numpy(rotation @ turn), torch.from_numpy(rotation))
    np.testing.assert_allclose(in_torch.numpy(), np.radians(degrees), atol=1e-7)


@given(
    rotations(), arrays(np.float64, (3, 3), elements=finite), arrays(np.float64, (3, 7, 3), elements=finite)
)
def test_transforms_invert_and_agree_between_libraries(
    rotation: np.ndarray, translation: np.ndarray, points: np.ndarray
) -> None:
    transform = geometry.make_transform(rotation, translation)
    moved = geometry.transform_points(transform, points)
    homogeneous = np.concatenate([points, np.ones((3, 7, 1))], axis=-1) @ transform.swapaxes(1, 2)
    np.testing.assert_allclose(homogeneous[..., :3], moved, atol=1e-12)
    np.testing.assert_allclose(homogeneous[..., 3], 1)
    inverse = geometry.invert_transform(transform)
    np.testing.assert_allclose(geometry.transform_points(inverse, moved), points, atol=1e-12)
    in_torch = geometry.make_transform(torch.from_numpy(rotation), torch.from_numpy(translation))
    np.testing.assert_array_equal(in_torch.numpy(), transform)
    np.testing.assert_allclose(geometry.invert_transform(in_torch).numpy(), inverse, atol=1e-15)
    moved_in_torch = geometry.transform_points(in_torch, torch.from_numpy(points))
    np.testing.assert_allclose(moved_in_torch.numpy(), moved, atol=1e-12)


def test_one_rotation_serves_many_translations() -> None:
    transforms = geometry.make_transform(np.eye(3), np.arange(6.0).reshape(2, 3))
    assert transforms.shape == (2, 4, 4)
    np.testing.assert_array_equal(transforms[1, :3, 3], [3, 4, 5])


def test_face_frame_of_a_person_who_looks_into_the_camera() -> None:
    """All in camera coordinates: x right, y down, z forward; the head is 0.6 m in front of the camera."""
    sellion_head = np.array([0.002, -0.03, -0.09])
    camera_T_head = geometry.make_transform(np.eye(3), np.array([0.0, 0.0, 0.6]))
    camera_T_face = camera_T_head @ geometry.head_T_face(sellion_head)
    np.testing.assert_allclose(camera_T_face[:3, 3], [0.002, -0.03, 0.51])
    x, y, z = camera_T_face[:3, :3].T
    np.testing.assert_array_equal(x, [0, 0, -1])  # out of the face is towards the camera
    np.testing.assert_array_equal(y, [1, 0, 0])  # the person's left is on the image's right
    np.testing.assert_array_equal(z, [0, -1, 0])  # the top of the head is up in the image
    gaze = camera_T_face[:3, :3] @ geometry.FACE_R_GAZE
    np.testing.assert_array_equal(gaze[:, 2], x)  # optical z is where the person looks
    np.testing.assert_array_equal(gaze[:, 1], -z)  # optical y is down
    np.testing.assert_array_equal(gaze[:, 0], -y)  # optical x is the person's right


@given(position=arrays(np.float64, 3, elements=st.floats(-1, 1)), height=st.floats(0.3, 3))
def test_face_axes_of_a_head_built_to_look_at_the_camera(position: np.ndarray, height: float) -> None:
    """A head anywhere, turned so that its nose points at the camera, the top of the head kept upright.

    Its axes are x to its left, y to the chin, z into the head.
    """
    center = position + np.array([0, 0, height + 1])
    into_head = center / np.linalg.norm(center)
    left = np.cross([0, 1.0, 0], into_head)
    left /= np.linalg.norm(left)
    head = np.stack([left, np.cross(into_head, left), into_head], axis=1)
    camera_T_face = geometry.make_transform(head, center) @ geometry.head_T_face(np.array([0, 0, -0.1]))
    np.testing.assert_allclose(camera_T_face[:3, 0], -into_head, atol=1e-12)
    np.testing.assert_allclose(camera_T_face[:3, 3], center - 0.1 * into_head, atol=1e-12)
    assert camera_T_face[2, 0] < 0 and camera_T_face[0, 1] > 0 and camera_T_face[1, 2] < 0
    camera_in_face = geometry.transform_points(geometry.invert_transform(camera_T_face), np.zeros((1, 3)))[0]
    np.testing.assert_allclose(camera_in_face[1:], 0, atol=1e-9)  # the camera lies on the face's x axis
    assert camera_in_face[0] > 0


def test_frames_are_proper_rotations_and_constant() -> None:
    for rotation in (geometry.HEAD_R_FACE, geometry.FACE_R_GAZE):
        assert np.linalg.det(rotation) == pytest.approx(1)
        np.testing.assert_array_equal(rotation @ rotation.T, np.eye(3))
        with pytest.raises(ValueError, match="read-only"):
            rotation[0, 0] = 2


def test_head_T_face_of_torch_keeps_type_and_batch() -> None:
    sellions = torch.randn(5, 3)
    transforms = geometry.head_T_face(sellions)
    assert transforms.dtype == torch.float32 and transforms.shape == (5, 4, 4)
    np.testing.assert_allclose(transforms[3].numpy(), geometry.head_T_face(sellions[3].numpy()))


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (geometry.rotation_from_6d, (5,)),
        (geometry.euler_yxz_degrees, (4, 4)),
        (geometry.quaternion_xyzw_from_matrix, (4,)),
        (geometry.matrix_from_quaternion_xyzw, (3,)),
        (geometry.invert_transform, (3, 4)),
        (geometry.head_T_face, (2,)),
    ],
)
def test_wrong_shapes_are_named(function, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must have shape \(\.\.\., "):
        function(np.zeros(shape))
