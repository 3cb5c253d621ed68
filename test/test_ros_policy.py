"""The SROS2 policy grants what the node uses, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="needs ROS")
pytest.importorskip("trg_ros.msg", reason="needs the built messages")

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_domain import REPOSITORY

from trg_ros.ros.node import HeadPoseNode

POLICY = REPOSITORY / "config" / "sros2_policy.xml"
OPTIONAL = ("/humans/", "/image", "/camera_info", "/detections", "/clock", "get_type_description")
"""Used only with hri_msgs, with some parameters, while somebody listens, or by some distributions."""


def granted(kind: str, right: str) -> set[str]:
    """What the policy allows, e.g. ("topics", "publish")."""
    root = ElementTree.parse(POLICY).getroot()
    return {str(entry.text) for block in root.iter(kind) if block.get(right) == "ALLOW" for entry in block}


@pytest.fixture(scope="module")
def node(stand_in: Path) -> Iterator[HeadPoseNode]:
    context = rclpy.Context()
    rclpy.init(context=context)
    values = {"checkpoint": str(stand_in), "detector": "topic", "autostart": False, "threads": 1}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = HeadPoseNode(context=context, parameter_overrides=overrides)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.mark.parametrize("kind", ["publish", "subscribe", "reply"])
def test_the_policy_is_what_the_node_does(node: HeadPoseNode, kind: str) -> None:
    name, namespace = node.get_name(), node.get_namespace()
    if kind == "reply":
        used, allowed = node.get_service_names_and_types_by_node(name, namespace), granted("services", kind)
    elif kind == "publish":
        used, allowed = node.get_publisher_names_and_types_by_node(name, namespace), granted("topics", kind)
    else:
        used, allowed = node.get_subscriber_names_and_types_by_node(name, namespace), granted("topics", kind)
    names = {topic for topic, _ in used}
    assert [one for one in sorted(names) if not any(fnmatch(one, rule) for rule in allowed)] == []
    spare = {one for one in allowed - names if not any(part in one for part in OPTIONAL)}
    assert spare == set(), "rights that nobody needs"
    assert granted("topics", "subscribe") >= {"/image", "/camera_info", "/detections"}


@pytest.mark.fault(
    "SROS2 enforced, but without keys or with a Fast DDS that was built without it",
    "the node doesn't start: nothing goes out unprotected",
)
def test_enforced_security_is_not_given_up(tmp_path: Path) -> None:
    security = {
        "ROS_SECURITY_KEYSTORE": str(tmp_path),
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
    }
    keys = tmp_path / "enclaves" / "trg_ros" / "headpose"
    for folder in (tmp_path / "nothing", keys):
        folder.mkdir(parents=True)
        result = subprocess.run(
            [sys.executable, "-m", "trg_ros.ros.node", "--ros-args", "--enclave", "/trg_ros/headpose"],
            cwd=REPOSITORY,
            env={**os.environ, **security},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode != 0
        assert "security" in result.stderr.lower()


def test_no_wildcard_grants_everything() -> None:
    rules = granted("topics", "publish") | granted("topics", "subscribe") | granted("services", "reply")
    assert all("*" not in rule or rule.startswith("/humans/faces/*/") for rule in rules)
    assert granted("services", "request") == set()
