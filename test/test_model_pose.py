"""What the network's numbers mean: translation, projection and rotation of every parametrisation."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from trg_ros.geometry import shortest_turn
from trg_ros.model.network import project_to_crop
from trg_ros.model.pose import pose_in_camera, translation_from_correction, turn_towards


@given(
    focal=st.floats(100, 3000),
    center=st.tuples(st.floats(-500, 3000), st.floats(-500, 3000)),
    principal=st.tuples(st.floats(0, 2000), st.floats(0, 2000)),
    side=st.floats(20, 900),
    correction=st.tuples(st.floats(0.5, 2), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
)
def test_translation_and_projection_are_those_of_the_paper_in_pixels(
    focal: float, center: tuple, principal: tuple, side: float, correction: tuple
) -> None:
    tau = np.subtract(center, principal)
    box = torch.tensor([[*(tau / focal), side / focal]], dtype=torch.float64)
    found = translation_from_correction(torch.tensor([correction], dtype=torch.float64), box)
    scale = 0.2 * correction[0]
    expected = [*(scale * (tau / side + np.array(correction[1:]) / 2)), scale * focal / side]
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-9, atol=1e-9)

    point = found[:, None] + torch.tensor([[[0.02, -0.05, 0.01]]], dtype=torch.float64)
    if point[0, 0, 2] > 0.06:
        x, y, z = point[0, 0].tolist()
        pixel = focal * np.array([x, y]) / z + principal  # in the image
        size = 192
        in_crop = (pixel - (np.array(center) - side / 2)) * size / side  # through the release's K'
        np.testing.assert_allclose(
            project_to_crop(point, box)[0, 0], in_crop / size * 2 - 1, rtol=1e-6, atol=1e-6
        )


def test_other_pose_parameters_are_what_they_say() -> None:
    generator = torch.Generator().manual_seed(3)
    box = torch.rand(6, 3, generator=generator, dtype=torch.float64) - torch.tensor([0.5, 0.5, -0.1])
    numbers = torch.tensor([1.2, 0.3, -0.4], dtype=torch.float64).expand(6, 3)
    rotation = torch.linalg.qr(torch.rand(6, 3, 3, generator=generator, dtype=torch.float64))[0]
    turned, translation = pose_in_camera("correction", rotation, numbers, box)
    assert turned is rotation

    _, moved = pose_in_camera("camera_offset", rotation, numbers, box)
    ray = torch.cat([box[:, :2], torch.ones(6, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(moved[:, 2], translation[:, 2])
    offset = moved - moved[:, 2:] * ray
    torch.testing.assert_close(offset, torch.tensor([0.03, -0.04, 0.0], dtype=torch.float64).expand(6, 3))

    turned, same = pose_in_camera("local_to_global", rotation, numbers, box)
    torch.testing.assert_close(same, translation)
    unit = (ray / ray.norm(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(turn_towards(box[:, :2]).numpy(), shortest_turn(unit), atol=1e-12)
    np.testing.assert_allclose(turned.numpy(), shortest_turn(unit) @ rotation.numpy(), atol=1e-12)
    assert pose_in_camera("direct", rotation, numbers, box)[1] is numbers


def test_points_behind_the_camera_stay_finite() -> None:
    points = torch.tensor([[[0.1, 0.1, -0.2], [0.1, 0.1, 0.0]]], requires_grad=True)
    projected = project_to_crop(points, torch.tensor([[0.0, 0.0, 0.2]]))
    projected.sum().backward()
    assert torch.isfinite(projected).all() and torch.isfinite(points.grad).all()
