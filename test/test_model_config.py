"""Configurations and topologies of networks: impossible ones are refused by name."""

import numpy as np
import pytest
from small_network import NUM_LANDMARKS, small_config, small_topology

from trg_ros.errors import InputError
from trg_ros.model.config import TRGConfig
from trg_ros.model.network import TRG
from trg_ros.model.topology import Topology


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stem": "vgg"}, "stem"),
        ({"iterations": 9}, "iterations"),
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
        ({"second_look_scale": 0.5}, "second_look_scale"),
        ({"second_look_scale": True}, "second_look_scale"),
        ({"input_size": 72, "lateral_connections": True, "deconv_widths": (12, 8)}, "input_size"),
        ({"heatmap_level": 3}, "heatmap_level"),
        ({"lateral_connections": True}, "lateral_connections"),
        ({"lateral_connections": 1, "deconv_widths": (12, 8)}, "lateral_connections"),
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


def test_iterations_beyond_the_last_map_look_at_it_again() -> None:
    config = small_config(deconv_widths=(12, 8), iterations=4, heatmap_level=0)
    assert [config.map_level(iteration) for iteration in range(4)] == [0, 1, 1, 1]


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
