"""The network: every variant builds and runs, and none of them cares how many heads it sees at once."""

import numpy as np
import pytest
import torch
from small_network import NUM_LANDMARKS, random_inputs, small_config, small_network, small_topology

from trg_ros.errors import InputError
from trg_ros.model.network import TRG, TRGOutput
from trg_ros.model.preprocessing import normalise_crops

VARIANTS = {
    "as in the release": {},
    "resnet stem": {"stem": "resnet"},
    "four stages": {"backbone_widths": (8, 8, 12, 16), "backbone_blocks": (1, 2, 1, 1)},
    "two iterations": {"iterations": 2},
    "one iteration on the last map": {"iterations": 1, "multi_scale": False},
    "last map only": {"multi_scale": False},
    "two maps": {"iterations": 2, "deconv_widths": (12, 8)},
    "one map, three iterations": {"deconv_widths": (12,), "multi_scale": False},
    "two maps, three iterations": {"deconv_widths": (12, 8)},
    "lateral connections": {"lateral_connections": True, "deconv_widths": (12, 8)},
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


def test_landmark_free_network_keeps_the_initial_face() -> None:
    model = small_network(predicts_landmarks=False, sampling="grid")
    with torch.inference_mode():
        output = model(*random_inputs(2))[-1]
    torch.testing.assert_close(output.landmarks_head, model.initial_landmarks.expand(2, -1, -1))
    assert (output.rotation[0] - output.rotation[1]).abs().max() > 1e-3
    assert not [name for name in model.state_dict() if "landmark_head" in name]


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


def test_lateral_connections_start_at_zero_and_bring_the_finer_map() -> None:
    """So that weights trained without them can go on with them."""
    changes = {"lateral_connections": True, "deconv_widths": (12, 8), "iterations": 2}
    with_them, without = (
        TRG(small_config(**changes), small_topology()).eval(),
        small_network(iterations=2, deconv_widths=(12, 8)),
    )
    with_them.load_state_dict(without.state_dict(), strict=False)
    crops, box = random_inputs(2)
    with torch.inference_mode():
        expected, same = without(crops, box)[-1], with_them(crops, box)[-1]
        torch.testing.assert_close(same.landmarks_head, expected.landmarks_head, atol=0, rtol=0)
        with_them.upsamplers[1].lateral.weight.fill_(0.3)
        moved = (with_them(crops, box)[-1].landmarks_head - expected.landmarks_head).abs().max()
    assert moved > 1e-4
