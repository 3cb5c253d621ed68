"""The tables of parameters: what is refused, what may change, what is written down."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import rclpy
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.node import Node
from rclpy.parameter import Parameter

from trg_ros.errors import InputError
from trg_ros.ros.parameters import Settings
from trg_ros.ros.video_source import VideoSourceSettings

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "name,value,complaint",
    [
        ("max_faces", 0, "1 .. 64"),
        ("max_faces", 65, "1 .. 64"),
        ("max_faces", 2.0, "must be of type int"),
        ("max_faces", True, "must be of type int"),
        ("min_score", 1.5, "0 .. 1"),
        ("min_score", math.nan, "0 .. 1"),
        ("min_score", "high", "must be of type double"),
        ("assume_fov_deg", -1, "0 .. 170"),
        ("max_rate", math.inf, "0 .. 1000"),
        ("detector", "mtcnn", "libfacedetection"),
        ("image_transport", "theora", "compressed"),
        ("image_reliability", "RELIABLE", "best_effort"),
        ("device", "gpu", "cuda"),
        ("device", "cuda:", "cuda"),
        ("tf_prefix", "a b", "tf_prefix"),
        ("publish_tf", 1, "must be of type bool"),
        ("checkpoint", None, "can't be deleted"),
    ],
)
def test_bad_parameters_are_refused_with_what_is_allowed(name: str, value: Any, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings(**{name: value})
    assert f"'{name}'" in str(caught.value)
    assert complaint in str(caught.value)


def test_a_whole_number_serves_as_a_double() -> None:
    settings = Settings(assume_fov_deg=60)
    assert settings.assume_fov_deg == 60.0 and isinstance(settings.assume_fov_deg, float)


def test_only_live_parameters_change_while_configured() -> None:
    settings = Settings()
    change = SimpleNamespace(name="max_faces", value=3)
    assert "read when the node is configured" in settings.reason_to_refuse([change], configured=True)
    assert settings.reason_to_refuse([change], configured=False) == ""
    unchanged = SimpleNamespace(name="max_faces", value=settings.max_faces)
    assert settings.reason_to_refuse([unchanged], configured=True) == ""
    assert settings.reason_to_refuse([SimpleNamespace(name="max_rate", value=5)], configured=True) == ""
    assert (
        settings.reason_to_refuse([SimpleNamespace(name="use_sim_time", value=True)], configured=True) == ""
    )
    assert "0 .. 1000" in settings.reason_to_refuse(
        [SimpleNamespace(name="max_rate", value=-5.0)], configured=True
    )


def test_what_is_read_at_start_only_can_not_be_changed() -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("parameters", context=context)
    for table in (VideoSourceSettings, Settings):
        table.declare(node)
    results = node.set_parameters([Parameter("rate", value=5.0), Parameter("autostart", value=False)])
    assert [result.successful for result in results] == [False, False]
    assert all("read-only" in result.reason for result in results)
    node.destroy_node()
    rclpy.try_shutdown(context=context)


ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=20),
    st.lists(st.floats(), max_size=3),
)


NAMES = st.sampled_from([*vars(Settings()), "use_sim_time", "nonsense"])


@pytest.mark.fault("1,000 random sets of parameters", "each taken whole or refused with the reason")
@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(NAMES, ANY_VALUE), max_size=4), st.booleans())
def test_no_set_of_parameters_does_harm(pairs: list[tuple[str, Any]], configured: bool) -> None:
    """Any set of values is taken whole or refused with a reason; what was taken lies within its limits."""
    before = Settings()
    changes = [SimpleNamespace(name=name, value=value) for name, value in pairs]
    reason = before.reason_to_refuse(changes, configured=configured)
    if reason:
        assert any(name in reason for name, _ in pairs)
        return
    after = before.replaced({change.name: change.value for change in changes})
    assert Settings(**vars(after)) == after
    fixed = [name for name in vars(after) if not Settings.__dataclass_fields__[name].metadata["live"]]
    assert not configured or all(getattr(after, name) == getattr(before, name) for name in fixed)


def test_the_parameter_file_holds_every_parameter_with_its_default() -> None:
    text = (REPOSITORY / "config" / "headpose.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert Settings(**values) == Settings()
    assert set(values) == set(vars(Settings()))
    assert text.endswith(Settings.yaml()), "write it again: Settings.yaml()"


def test_the_markdown_table_has_a_row_for_every_parameter() -> None:
    for table in (Settings, VideoSourceSettings):
        rows = table.markdown().splitlines()[2:]
        assert [row.split("`")[1] for row in rows] == list(vars(table()))
        assert all(row.count("|") == 7 for row in rows)
