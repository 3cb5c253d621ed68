"""Images that never reach the node are counted: by the publishers' numbers, and as the middleware tells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS")

import rclpy
import ros_domain  # noqa: F401  a ROS domain for this test process
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from trg_ros.ros.arrivals import Arrivals


def info(number: int | None, publisher: bytes = b"camera") -> dict[str, Any]:
    """As rclpy gives it to callbacks; some distributions leave a publisher's name out."""
    named = {"publisher_gid": {"data": publisher}} if publisher else {}
    return {"publication_sequence_number": number, **named}


def test_gaps_in_a_publishers_numbers_are_messages_that_never_came() -> None:
    arrivals = Arrivals()
    for number in (10, 11, 15, 16):  # whatever was sent before the first one isn't missing
        arrivals.arrived(info(number))
    assert arrivals.overtaken == 3
    arrivals.arrived(info(500, b"another"))
    arrivals.arrived(info(17))
    arrivals.arrived(info(502, b"another"))
    assert arrivals.overtaken == 4


def test_a_publisher_that_starts_again_has_lost_nothing() -> None:
    arrivals = Arrivals()
    for number in (100, 101, 1, 2):
        arrivals.arrived(info(number, b""))
    arrivals.arrived(info(None))
    assert arrivals.overtaken == 0


def test_what_the_middleware_lost_was_not_overtaken() -> None:
    arrivals = Arrivals()
    for number in (1, 7):
        arrivals.arrived(info(number))
    arrivals._on_lost(SimpleNamespace(total_count=2, total_count_change=2))
    assert (arrivals.lost, arrivals.overtaken) == (2, 3)
    arrivals._on_lost(SimpleNamespace(total_count=9, total_count_change=7))  # also after the last that came
    assert (arrivals.lost, arrivals.overtaken) == (9, 0)


def test_a_node_without_a_turn_counts_what_it_missed() -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    arrivals, came = Arrivals(), []
    newest = QoSProfile(depth=1)
    try:
        publisher = node.create_publisher(Header, "headers", 10)
        publisher.publish(Header(frame_id="before anybody listened"))
        arrivals.subscribe(node, Header, "headers", lambda message: came.append(message.frame_id), newest)

        def send_and_take(*names: str) -> None:
            for name in names:
                publisher.publish(Header(frame_id=name))
            while not came or came[-1] != names[-1]:
                executor.spin_once(timeout_sec=1.0)

        while publisher.get_subscription_count() == 0:
            executor.spin_once(timeout_sec=0.05)
        send_and_take("first")
        send_and_take("2", "3", "4", "last")
        assert len(came) + arrivals.overtaken == 5
        assert arrivals.lost == 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)
