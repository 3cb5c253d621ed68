"""Which images never reached the node: replaced by newer ones before it took them, or lost on the way.

Publishers number their messages, so what is missing shows as a gap. The middleware tells what it lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile


class Arrivals:
    """Subscribes, and counts the messages that were sent meanwhile and never came.

    Humble tells no numbers: then only what the middleware lost is counted. Where numbers come without the
    publisher's name, a second publisher on the topic makes `overtaken` wrong. Only for the executor's thread.
    """

    def __init__(self) -> None:
        self._newest: dict[bytes, int] = {}
        self._missing = 0
        self.lost = 0
        """Messages that the middleware lost on the way, or that their publisher didn't keep long enough."""

    @property
    def overtaken(self) -> int:
        """Messages that newer ones replaced before the node took them: it hadn't had its turn at a CPU."""
        return max(0, self._missing - self.lost)

    def subscribe(
        self, node: Node, message_type: Any, topic: str, callback: Callable[[Any], None], qos: QoSProfile
    ) -> Subscription[Any]:
        """A subscription whose messages are counted; what was sent before isn't missing."""
        self._newest.clear()

        def counted(message: Any, info: Mapping[str, Any]) -> None:
            self.arrived(info)
            callback(message)

        numbered = hasattr(Subscription, "CallbackType")  # not in Humble
        listener = counted if numbered else callback
        try:
            events = SubscriptionEventCallbacks(message_lost=self._on_lost)
            return node.create_subscription(message_type, topic, listener, qos, event_callbacks=events)
        except UnsupportedEventTypeError:  # a middleware that doesn't tell what it loses
            return node.create_subscription(message_type, topic, listener, qos)

    def arrived(self, info: Mapping[str, Any]) -> None:
        """A message came, with rclpy's `MessageInfo`."""
        number = info.get("publication_sequence_number")
        if number is None:
            return
        publisher = bytes((info.get("publisher_gid") or {}).get("data", b""))
        self._missing += max(0, number - self._newest.get(publisher, number) - 1)
        self._newest[publisher] = number

    def _on_lost(self, status: Any) -> None:
        self.lost += status.total_count_change
