"""The network: every variant builds and runs, and none of them cares how many heads it sees at once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_network import NUM_LANDMARKS, random_inputs, small_config, small_network, small_topology

from trg_ros.crop import shortest_turn
from trg_ros.errors import InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG, TRGOutput, project_to_crop
from trg_ros.model.pose import pose_in_camera, translation_from_correction, turn_towards
from trg_ros.model.preprocessing import normalise_crops
from trg_ros.model.topology import Topology

VARIANTS = {
    "as in the release": {},
    "resnet stem": {"stem": "resnet"},
    "four stages": {"backbone_widths": (8, 8, 12, 16), "backbone_blocks": (1, 2, 1, 1)},
    "two iterations": {"iterations": 2},
    "one iteration on the last map": {"iterations": 1, "multi_scale": False},
    "last map only": {"multi_scale": False},
    "two maps": {"iterations": 2, "deconv_widths": (12, 8)},
    "one map, three iterations": {"deconv_widths": (12,), "multi_scale": False},
    "one point layer": {"point_feature_widths": (4,)},
    "four point layers": {"point_feature_widths": (8, 6, 4, 2)},
    "no point activation": {"point_activation": "none"},
    "relu in the regressor": {"regressor_activation": "relu"},
    "gelu in the regressor": {"regressor_activation": "gelu", "dropout": 0.0},
    "heatmap on the middle map": {"heatmap_level": 1},
    "detached": {"detach_iterations": True},
    "scaled landmarks": {"landmark_scale": 0.1},
    "grid sampling": {"sampling": "grid"},
    "box center": {"box_feature": "center"},
    "no box": {"box_feature": "none"},
    "direct translation": {"translation": "direct"},
    "camera-space offset": {"translation": "camera_offset"},
    "local to global": {"translation": "local_to_global"},
    "landmark-free": {"predicts_landmarks": False, "sampling": "grid"},
    "larger grid": {"grid_size": 9},
    "wider": {"hidden_width": 48},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_runs_and_trains(changes: dict) -> None:
    model = small_network(**changes)
    crops, box = random_inputs(2)
    with torch.inference_mode():
        outputs = model(crops, box)
    assert len(outputs) == model.config.iterations
    for output in outputs:
        check_consistent(output, 2)
        assert output.landmarks68_crop is None
    outputs = model.train()(crops, box)
    assert outputs[-1].landmarks68_crop.shape == (2, 68, 2)
    assert all(output.landmarks68_crop is None for output in outputs[:-1])
    total = sum(output.landmarks_camera.sum() + output.rotation[:, 0].sum() for output in outputs)
    (total + outputs[-1].landmarks68_crop.sum()).backward()
    assert not [name for name, value in model.named_parameters() if value.grad is None]


def check_consistent(output: TRGOutput, count: int) -> None:
    assert output.landmarks_head.shape == output.landmarks_camera.shape == (count, NUM_LANDMARKS, 3)
    assert output.rotation_6d.shape == (count, 6)
    assert output.correction.shape == output.translation.shape == (count, 3)
    identity = torch.eye(3).expand(count, 3, 3)
    torch.testing.assert_close(output.rotation @ output.rotation.mT, identity, atol=1e-5, rtol=0)
    moved = torch.einsum("nij,nvj->nvi", output.rotation, output.landmarks_head) + output.translation[:, None]
    torch.testing.assert_close(output.landmarks_camera, moved, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_head_is_the_same_in_every_batch(count: int) -> None:
    model = small_network()
    crops, box = random_inputs(count)
    with torch.inference_mode():
        together = model(crops, box)
        for index in range(count):
            alone = model(crops[index : index + 1], box[index : index + 1])
            for a, b in zip(alone, together, strict=True):
                torch.testing.assert_close(
                    a.landmarks_camera[0], b.landmarks_camera[index], atol=1e-6, rtol=0
                )
                torch.testing.assert_close(a.rotation[0], b.rotation[index], atol=1e-6, rtol=0)


def test_no_heads_at_all() -> None:
    crops, box = random_inputs(0)
    with torch.inference_mode():
        assert small_network()(crops, box)[-1].landmarks_camera.shape == (0, NUM_LANDMARKS, 3)


@pytest.mark.parametrize("size", [32, 64, 96, 128])
def test_the_same_weights_run_at_other_input_sizes(size: int) -> None:
    crops, box = random_inputs(2, size)
    with torch.inference_mode():
        check_consistent(small_network()(crops, box)[-1], 2)


def test_sampling_follows_the_landmarks() -> None:
    """Features come from where the previous landmarks are: moving content elsewhere changes nothing."""
    model = small_network(iterations=2, deconv_widths=(12, 8))
    maps = [torch.randn(1, 12, 8, 8), torch.randn(1, 8, 16, 16)]
    points = torch.tensor([[[-0.5, 0.2]]]).expand(1, 20, 2)
    near = model.point_features[1](maps[1], points)
    changed = maps[1].clone()
    changed[..., 12:] += 1  # columns on the right, the points are on the left
    torch.testing.assert_close(model.point_features[1](changed, points), near)
    changed[..., :8] += 1
    assert not torch.allclose(model.point_features[1](changed, points), near)


def test_point_features_are_x_first_channel_major_and_zero_outside() -> None:
    model = small_network(point_feature_widths=(2,), point_activation="none")
    layer = model.point_features[0].layers[0]
    torch.nn.init.zeros_(layer.bias)
    torch.nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0] = layer.weight.data[1, 1] = 1
    ramp = torch.linspace(-1, 1, 8)
    features = torch.zeros(1, 12, 8, 8)
    features[0, 0] = ramp  # channel 0 is x, channel 1 is y
    features[0, 1] = ramp[:, None]
    points = torch.tensor([[[0.5, -0.25], [-1.0, 1.0], [3.0, 0.0]]])
    found = model.point_features[0](features, points)
    torch.testing.assert_close(found, torch.tensor([[0.5, -1.0, 0.0, -0.25, 1.0, 0.0]]))


def test_detached_iterations_stop_gradients() -> None:
    crops, box = random_inputs(2)
    for detach in (False, True):
        model = small_network(detach_iterations=detach).train()
        model(crops, box)[-1].landmarks_camera.sum().backward()
        gradient = model.regressors[0].pose_head.weight.grad
        assert (gradient is None) == detach


def test_an_untrained_network_keeps_its_initial_state() -> None:
    torch.manual_seed(0)
    model = TRG(small_config(), small_topology()).eval()
    mean = 0.08 * np.random.default_rng(0).standard_normal((NUM_LANDMARKS, 3))
    model.set_initial_state(
        mean, rotation_6d=np.array([1, 0, 0, 0.8, 0, 0.6]), correction=np.array([1.1, 0.1, 0])
    )
    crops, box = random_inputs(2)
    with torch.inference_mode():
        output = model(crops, box)[-1]
    np.testing.assert_allclose(output.landmarks_head[0].numpy(), mean, atol=0.05)
    assert not np.array_equal(output.landmarks_head[0].numpy(), mean.astype(np.float32))
    np.testing.assert_allclose(output.correction[1].numpy(), [1.1, 0.1, 0], atol=0.1)


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


def test_landmark_free_network_keeps_the_initial_face() -> None:
    model = small_network(predicts_landmarks=False, sampling="grid")
    with torch.inference_mode():
        output = model(*random_inputs(2))[-1]
    torch.testing.assert_close(output.landmarks_head, model.initial_landmarks.expand(2, -1, -1))
    assert (output.rotation[0] - output.rotation[1]).abs().max() > 1e-3
    assert not [name for name in model.state_dict() if "landmark_head" in name]


def test_points_behind_the_camera_stay_finite() -> None:
    points = torch.tensor([[[0.1, 0.1, -0.2], [0.1, 0.1, 0.0]]], requires_grad=True)
    projected = project_to_crop(points, torch.tensor([[0.0, 0.0, 0.2]]))
    projected.sum().backward()
    assert torch.isfinite(projected).all() and torch.isfinite(points.grad).all()


def test_geometry_keeps_its_precision_under_autocast_and_in_half_precision() -> None:
    crops, box = random_inputs(3)
    model = small_network()
    with torch.inference_mode():
        exact = model(crops, box)[-1]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(crops, box)[-1]
        half = model.set_compute_dtype(torch.bfloat16)(crops, box)[-1]
    for output in (mixed, half):
        assert {value.dtype for value in output[:6]} == {torch.float32}
        check_consistent(output, 3)
        assert (output.landmarks_camera - exact.landmarks_camera).abs().max() < 0.02
    assert not torch.equal(mixed.landmarks_camera, exact.landmarks_camera)


def test_double_precision_agrees_with_single() -> None:
    crops, box = random_inputs(2)
    with torch.inference_mode():
        single = small_network()(crops, box)[-1]
        double = small_network().double()(crops.double(), box.double())[-1]
    assert double.landmarks_camera.dtype == torch.float64
    torch.testing.assert_close(
        single.landmarks_camera.double(), double.landmarks_camera, atol=1e-5, rtol=1e-5
    )


def test_exports_with_a_dynamic_batch() -> None:
    model = small_network()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, random_inputs(2), dynamic_shapes=({0: batch}, {0: batch}))
    for count in (1, 3, 5):
        crops, box = random_inputs(count)
        with torch.inference_mode():
            expected = model(crops, box)
            found = program.module()(crops, box)
        torch.testing.assert_close(
            found[-1].landmarks_camera, expected[-1].landmarks_camera, atol=1e-6, rtol=1e-5
        )


def test_normalise_crops() -> None:
    crops = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    crops[..., 0] = 255
    normalised = normalise_crops(crops)
    assert normalised.shape == (2, 3, 4, 4)
    torch.testing.assert_close(
        normalised[0, :, 0, 0], torch.tensor([0.515 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    )
    for wrong in (crops.float(), crops[0], crops.permute(0, 3, 1, 2)):
        with pytest.raises(InputError, match="uint8"):
            normalise_crops(wrong)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stem": "vgg"}, "stem"),
        ({"iterations": 4}, "iterations"),
        ({"iterations": 0}, "iterations"),
        ({"iterations": True}, "iterations"),
        ({"backbone_widths": ()}, "backbone_widths"),
        ({"backbone_widths": [8, 8, 8]}, "backbone_widths"),
        ({"backbone_widths": (8, 8, -1)}, "backbone_widths"),
        ({"backbone_blocks": (1, 1)}, "backbone_blocks"),
        ({"num_sampled": 81}, "num_sampled"),
        ({"num_landmarks": 10}, "num_landmarks"),
        ({"dropout": 1.5}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"landmark_scale": 0.0}, "landmark_scale"),
        ({"heatmap_level": 3}, "heatmap_level"),
        ({"multi_scale": 1}, "multi_scale"),
        ({"point_activation": "tanh"}, "point_activation"),
        ({"translation": "magic"}, "translation"),
        ({"predicts_landmarks": False}, "sampling"),
        ({"predicts_landmarks": 0, "sampling": "grid"}, "predicts_landmarks"),
        ({"input_size": 192.0}, "input_size"),
        ({"hidden_width": 10**9}, "hidden_width"),
    ],
)
def test_impossible_configurations_are_named(changes: dict, named: str) -> None:
    with pytest.raises(InputError, match=f"{named} "):
        small_config(**changes)


def test_configuration_round_trip() -> None:
    config = small_config(sampling="grid", heatmap_level=0)
    assert TRGConfig.from_dict(config.to_dict()) == config
    assert TRGConfig.from_dict({}) == TRGConfig()
    with pytest.raises(InputError, match="'widht'"):
        TRGConfig.from_dict({"widht": 3})


def test_topology() -> None:
    topology = small_topology(triangles=np.array([[0, 1, 2], [2, 1, 3]], dtype=np.uint16))
    assert topology.triangles.dtype == np.int64
    assert topology.sellion == 5 + 27
    np.testing.assert_array_equal(topology.edges, [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]])
    topology.validate(NUM_LANDMARKS)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"triangles": np.array([[0, 1, 80]])}, "triangles has indices"),
        ({"triangles": np.array([[0, 1, -1]])}, "triangles has indices"),
        ({"triangles": np.zeros((3, 4), int)}, "triangles must have shape"),
        ({"triangles": np.zeros((3, 3))}, "triangles must hold integers"),
        ({"sampled": np.zeros(0, int)}, "sampled must have shape"),
        ({"sampled": np.zeros(20, int)}, "sampled names a landmark twice"),
        ({"sampled": np.arange(19)}, "19 sampled"),
        ({"landmarks68": np.arange(67)}, "landmarks68 must have shape"),
        ({"flip": np.roll(np.arange(NUM_LANDMARKS), 1)}, "flip must swap"),
        ({"flip": np.arange(3)}, "flip must swap"),
    ],
)
def test_impossible_topologies_are_refused(changes: dict, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        TRG(small_config(), small_topology(**changes))


def test_topology_without_mirror_symmetry() -> None:
    topology = small_topology(flip=None)
    assert isinstance(topology, Topology) and topology.flip is None
    topology.validate(NUM_LANDMARKS)
