"""The node's services: start afresh, and look for new faces or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from rclpy.node import Node

    from trg_ros.ros.parameters import Settings
    from trg_ros.ros.pipeline import Pipeline


_NOT_ACTIVE = "not active: ros2 lifecycle set <node> activate (configure before, if it is unconfigured)"


class Services:
    """`~/reset` and `~/set_detector`. Both refuse while the node isn't active."""

    def __init__(
        self, node: Node, pipeline: Callable[[], Pipeline | None], settings: Callable[[], Settings]
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        node.create_service(Trigger, "~/reset", self._on_reset)
        node.create_service(SetBool, "~/set_detector", self._on_set_detector)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Forget all heads; those that come get new ids, filters start afresh."""
        pipeline = self._pipeline()
        if pipeline is None:
            response.message = _NOT_ACTIVE
        else:
            pipeline.request_reset()
            response.success = True
        return response

    def _on_set_detector(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """True: look for new faces; False: follow only the heads known now."""
        pipeline = self._pipeline()
        if pipeline is None:
            response.message = _NOT_ACTIVE
        elif self._settings().detector == "topic":
            response.message = "faces are looked for elsewhere (detector: topic)"
        else:
            pipeline.search(request.data)
            response.success = True
        return response
