"""The losses: zero for the truth, known values for known errors, silent where there are no labels."""

import dataclasses

import pytest
import torch
from small_network import NUM_LANDMARKS, random_inputs, small_network, small_topology

from trg_ros.errors import InputError
from trg_ros.model.losses import LossWeights, TRGLoss, TRGTargets, edge_loss, masked_mean, rotation_loss
from trg_ros.model.network import TRGOutput, project_to_crop

COUNT = 3
BOX = torch.tensor([[0.1, -0.05, 0.3], [0.0, 0.0, 0.4], [-0.2, 0.1, 0.25]])


def truth() -> tuple[TRGOutput, TRGTargets]:
    generator = torch.Generator().manual_seed(0)
    landmarks = 0.05 * torch.randn(COUNT, NUM_LANDMARKS, 3, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(COUNT, 3, 3, generator=generator))
    translation = torch.tensor([[0.05, -0.02, 0.6], [0.0, 0.1, 0.7], [-0.1, 0.0, 0.9]])
    camera = landmarks @ rotation.mT + translation[:, None]
    landmarks68 = project_to_crop(camera, BOX)[:, torch.from_numpy(small_topology().landmarks68)]
    output = TRGOutput(
        landmarks, rotation, translation, camera, torch.zeros(3, 6), torch.zeros(3, 3), landmarks68
    )
    focal = torch.tensor([500.0, 600.0, 700.0])
    has_3d = torch.ones(COUNT, dtype=torch.bool)
    return output, TRGTargets(landmarks, rotation, translation, landmarks68, focal, has_3d)


def test_the_truth_costs_nothing() -> None:
    output, targets = truth()
    loss, terms = TRGLoss(small_topology())([output, output, output], BOX, targets)
    assert loss == pytest.approx(0, abs=1e-5)
    assert set(terms) == {
        "landmarks_head",
        "landmarks_camera",
        "landmarks_image",
        "rotation",
        "edges",
        "landmarks68",
    }


def test_terms_have_the_papers_weights() -> None:
    output, targets = truth()
    wrong = output._replace(
        landmarks_head=output.landmarks_head + 0.01,
        landmarks_camera=output.landmarks_camera + torch.tensor([0.03, 0.0, 0.0]),
        rotation=output.rotation + 0.1,
        landmarks68_crop=output.landmarks68_crop + 0.1,
    )
    _, terms = TRGLoss(small_topology())([wrong], BOX, targets)
    assert terms["landmarks_head"].item() == pytest.approx(20 * 0.01, rel=1e-4)
    assert terms["landmarks_camera"].item() == pytest.approx(2 * 0.01, rel=1e-4)
    assert terms["rotation"].item() == pytest.approx(10 * 0.01, rel=1e-4)
    assert terms["landmarks68"].item() == pytest.approx(1.25 * 0.1, rel=1e-4)
    assert terms["edges"].item() == pytest.approx(0, abs=1e-6)  # a shifted face has the same edges
    depth = targets.translation[:, 2:]
    shift_px = targets.focal[:, None] * 0.03 / output.landmarks_camera[..., 2]
    assert (depth > 0.3).all()
    assert terms["landmarks_image"].item() == pytest.approx(0.01 * shift_px.mean().item() / 2, rel=1e-3)


def test_earlier_iterations_count_half_and_have_no_edges() -> None:
    output, targets = truth()
    stretched = output._replace(landmarks_head=1.1 * output.landmarks_head)
    loss = TRGLoss(small_topology())
    last = loss([output, output, stretched], BOX, targets)[1]
    first = loss([stretched, output, output], BOX, targets)[1]
    assert first["landmarks_head"].item() == pytest.approx(last["landmarks_head"].item() / 4, rel=1e-4)
    assert last["edges"] > 1e-3
    assert first["edges"].item() == pytest.approx(0, abs=1e-6)


def test_rotation_losses() -> None:
    difference = torch.zeros(1, 3, 3)
    difference[0, 0, 0] = 0.3
    identity = torch.eye(3)[None]
    assert rotation_loss(identity + difference, identity).item() == pytest.approx(0.01)
    assert rotation_loss(identity + difference, identity, "frobenius").item() == pytest.approx(0.3)
    with pytest.raises(InputError, match="'geodesic'"):
        LossWeights(rotation_loss="geodesic")


def test_edge_loss_measures_lengths() -> None:
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0]]])
    edges = torch.tensor([[0, 1], [0, 2]])
    assert edge_loss(2 * points, points, edges).item() == pytest.approx((1 + 2) / 2)


def test_masked_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([1.0, float("nan"), 3.0])
    assert masked_mean(values, torch.tensor([True, False, True])) == 2
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)) == 0


@pytest.mark.parametrize("missing", [[1], [0, 1, 2]])
def test_samples_without_3d_labels_contribute_their_2d_terms_only(missing: list[int]) -> None:
    crops, _ = random_inputs(COUNT)
    _, targets = truth()
    has_3d = targets.has_3d.clone()
    has_3d[missing] = False
    labels = {name: getattr(targets, name).clone() for name in ("landmarks_head", "rotation", "translation")}
    for value in labels.values():
        value[missing] = float("nan")
    blind = dataclasses.replace(targets, has_3d=has_3d, **labels)
    model = small_network().train()
    loss, terms = TRGLoss(small_topology())(model(crops, BOX), BOX, blind)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert terms["landmarks_image"] > 0 and terms["landmarks68"] > 0
    assert (terms["landmarks_head"] == 0) == (len(missing) == COUNT)


def test_a_small_network_learns_one_batch() -> None:
    crops, _ = random_inputs(COUNT, size=32)
    _, targets = truth()
    torch.manual_seed(0)
    model = small_network(dropout=0.0, regressor_activation="relu", landmark_scale=0.1).train()
    criterion = TRGLoss(small_topology())
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss, _ = criterion(model(crops, BOX), BOX, targets)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
