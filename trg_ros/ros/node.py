"""The node `headpose`: a lifecycle node that configures and activates itself unless `autostart` is false.

Threads: the executor runs everything here and only stores images; one worker (worker.py) estimates and
publishes.
"""

from __future__ import annotations

import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from trg_ros.errors import TrgRosError
from trg_ros.ros.diagnostics import diagnostic_array
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.parameters import Settings
from trg_ros.ros.runner import run
from trg_ros.ros.services import Services

if TYPE_CHECKING:
    from rclpy.parameter import Parameter

    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.ros.active import Active
    from trg_ros.ros.pipeline import Pipeline
    from trg_ros.ros.publishers import Outputs

_POLL_S = 0.2
"""How soon a new subscriber is noticed where matched events don't tell (/tf, Humble)."""


class HeadPoseNode(LifecycleNode):
    """Image + CameraInfo in, the metric 6DoF pose of every head in view out.

    Raises InputError from the constructor when a parameter is unusable.
    """

    def __init__(self, **node_options: Any) -> None:
        # Before anything can fail: rclpy destroys a half-made node, too.
        self.estimator: HeadPoseEstimator | None = None
        self.outputs: Outputs | None = None
        self._running: Active | None = None
        self._trouble = ""
        super().__init__("headpose", **node_options)
        self.settings = Settings.declare(self)
        self._log = ThrottledLog(self.get_logger())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.add_on_set_parameters_callback(self._on_parameters)
        # Steady clocks: a simulation that stands still must not silence the node.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_POLL_S, self._follow_demand, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        Services(self, self._pipeline, lambda: self.settings)

    def autostart(self) -> None:
        """Configure and activate, if the parameter says so; after a failure the node stays unconfigured."""
        if self.settings.autostart and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # Lifecycle. rclpy swallows what a transition raises, so each one reports its own trouble.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load detector and network, offer the topics."""
        try:
            self.settings = Settings.read(self)
            self._configure()
        except Exception as error:
            self._release()
            return self._failed("configure", error)
        self._trouble = ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker; images are subscribed to as soon as somebody listens."""
        try:
            self._activate()
        except Exception as error:
            self._deactivate()
            return self._failed("activate", error)
        self._trouble = ""
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the worker, unsubscribe, take the markers back."""
        self._deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the topics and the memory back."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._deactivate()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._deactivate()
        self._release()
        return super().on_error(state)

    def destroy_node(self) -> None:
        """Stop the worker before the publishers go."""
        self._deactivate()
        super().destroy_node()

    def _configure(self) -> None:
        # What runs the network takes long to import, torch seconds: the node is on the graph before.
        from trg_ros.ros.loading import load_estimator
        from trg_ros.ros.publishers import Outputs

        started_s = time.monotonic()
        self.estimator = load_estimator(self.settings)
        self.outputs = Outputs(
            self, self.settings.max_faces, self.estimator.checkpoint.topology.triangles, self._follow_demand
        )
        estimator = self.estimator
        self.get_logger().info(
            f"checkpoint {estimator.checkpoint.info.name} on {estimator.device} ({estimator.backend_name}), "
            f"loaded in {time.monotonic() - started_s:.1f} s"
        )

    def _activate(self) -> None:
        from trg_ros.ros.active import Active

        if self.estimator is None or self.outputs is None:
            raise RuntimeError("activated without being configured")
        self._running = Active(self, self.estimator, self.outputs, self._log, lambda: self.settings)
        self._running.start()
        inputs = self._running.inputs
        self.get_logger().info(
            f"waiting for images on {inputs.image_topic}, calibration on {inputs.camera_info_topic}; "
            "both are subscribed to while somebody listens to an output"
        )
        self._follow_demand()

    def _deactivate(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def _release(self) -> None:
        if self.outputs is not None:
            self.outputs.destroy()
        self.outputs = None
        self.estimator = None

    def _failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        if not self.context.ok():  # a signal came while the weights were loaded
            return TransitionCallbackReturn.FAILURE
        self._trouble = f"can't {transition}: {error}"
        text = self._trouble
        if not isinstance(error, TrgRosError):
            text += f"; please report this:\n{traceback.format_exc()}"
        self.get_logger().error(text)
        return TransitionCallbackReturn.FAILURE

    # Callbacks of the executor.

    def _pipeline(self) -> Pipeline | None:
        return None if self._running is None else self._running.pipeline

    def _on_parameters(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        reason = self.settings.reason_to_refuse(changes, configured=self.outputs is not None)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        self.settings = self.settings.replaced({change.name: change.value for change in changes})
        return SetParametersResult(successful=True)

    def _follow_demand(self) -> None:
        if self._running is not None:
            self._running.follow_demand()

    def _report(self) -> None:
        hardware = "" if self.estimator is None else str(self.estimator.device)
        level, message, values = self._status()
        self._diagnostics.publish(
            diagnostic_array(
                self.get_clock().now().to_msg(),
                self.get_fully_qualified_name(),
                level,
                message,
                hardware,
                values,
            )
        )

    def _status(self) -> tuple[bytes, str, dict[str, object]]:
        if self._running is not None:
            return self._running.status()
        if self._trouble:
            self._log.error("trouble", self._trouble)
            return DiagnosticStatus.ERROR, self._trouble, {}
        return DiagnosticStatus.OK, "not active", {}


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or shutdown: status 0; 2 for unusable parameters."""
    return run("headpose", HeadPoseNode, started=HeadPoseNode.autostart, args=args)


if __name__ == "__main__":
    sys.exit(main())
