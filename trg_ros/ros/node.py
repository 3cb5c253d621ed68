"""The node `headpose`: a lifecycle node that configures and activates itself unless `autostart` is false.

Threads: the executor runs everything here and only stores images; one worker (worker.py) estimates and
publishes.
"""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from trg_ros.errors import TrgRosError
from trg_ros.ros.diagnostics import Rates, diagnostic_array, judge, missing_inputs
from trg_ros.ros.frame import Frame
from trg_ros.ros.inputs import Inputs
from trg_ros.ros.intrinsics import IntrinsicsStore
from trg_ros.ros.log import ThrottledLog
from trg_ros.ros.mailbox import Mailbox
from trg_ros.ros.parameters import Settings
from trg_ros.ros.runner import run
from trg_ros.ros.services import Services
from trg_ros.ros.statistics import Statistics
from trg_ros.ros.worker import Worker

if TYPE_CHECKING:
    from rclpy.parameter import Parameter

    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.ros.pipeline import Pipeline
    from trg_ros.ros.publishers import Outputs
    from trg_ros.ros.smoothing import FixedFrame

_POLL_S = 0.2
"""How soon a new subscriber is noticed where matched events don't tell (/tf, Humble)."""


@dataclass
class _Running:
    """What exists only while the node is active."""

    inputs: Inputs
    intrinsics: IntrinsicsStore
    mailbox: Mailbox[Frame]
    worker: Worker
    pipeline: Pipeline
    fixed_frame: FixedFrame | None
    statistics: Statistics = field(default_factory=Statistics)
    rates: Rates = field(default_factory=Rates)


class HeadPoseNode(LifecycleNode):
    """Image + CameraInfo in, the metric 6DoF pose of every head in view out.

    Raises InputError from the constructor when a parameter is unusable.
    """

    def __init__(self, **node_options: Any) -> None:
        # Before anything can fail: rclpy destroys a half-made node, too.
        self.estimator: HeadPoseEstimator | None = None
        self.outputs: Outputs | None = None
        self._running: _Running | None = None
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
        # torch takes seconds to import: the node is on the graph before.
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
        from trg_ros.ros.loading import make_tracker
        from trg_ros.ros.pipeline import Pipeline
        from trg_ros.ros.smoothing import FixedFrame, Smoothing

        if self.estimator is None or self.outputs is None:
            raise RuntimeError("activated without being configured")
        statistics, mailbox = Statistics(), Mailbox[Frame]()
        intrinsics = IntrinsicsStore(self.resolve_topic_name("camera_info"))
        tracker = make_tracker(self.estimator, self.settings)
        fixed_frame = None
        if self.settings.filtering_frame:
            fixed_frame = FixedFrame(self, self.settings.filtering_frame)
        pipeline = Pipeline(
            self.estimator,
            tracker,
            intrinsics,
            self.outputs,
            statistics,
            self._log,
            self._ros_time_s,
            Smoothing(fixed_frame, self._log),
        )
        worker = Worker(
            mailbox, pipeline.process, lambda: self.settings, statistics, self._log, pipeline.idle
        )
        inputs = Inputs(self, self.settings, mailbox, intrinsics, statistics)
        self._running = _Running(inputs, intrinsics, mailbox, worker, pipeline, fixed_frame, statistics)
        worker.start()
        self.get_logger().info(
            f"waiting for images on {inputs.image_topic}, calibration on {inputs.camera_info_topic}; "
            "both are subscribed to while somebody listens to an output"
        )
        self._follow_demand()

    def _deactivate(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.inputs.close()
        if not running.worker.stop():
            self.get_logger().error("the worker is stuck in an image; its thread is left behind")
        elif self.context.ok():
            running.pipeline.reset()
        running.pipeline.close()
        if running.fixed_frame is not None:
            running.fixed_frame.close()

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

    def _ros_time_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    def _on_parameters(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        reason = self.settings.reason_to_refuse(changes, configured=self.outputs is not None)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        self.settings = self.settings.replaced({change.name: change.value for change in changes})
        return SetParametersResult(successful=True)

    def _follow_demand(self) -> None:
        """Subscribe to images exactly while somebody listens to a result."""
        running = self._running
        if running is not None and self.outputs is not None:
            running.inputs.refresh(wanted=bool(self.outputs.wanted(self.settings)))

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
        running, estimator = self._running, self.estimator
        if running is None or estimator is None or self.outputs is None:
            if self._trouble:
                self._log.error("trouble", self._trouble)
                return DiagnosticStatus.ERROR, self._trouble, {}
            return DiagnosticStatus.OK, "not active", {}
        missing = missing_inputs(self, running.inputs, running.intrinsics, running.statistics, self.settings)
        for item in missing:
            self._log.warn(f"missing {item.name}", item.fix)
        level, message = judge(missing, running.statistics.last_problem, running.inputs.is_open)
        return level, message, self._numbers(running, estimator, [item.name for item in missing])

    def _numbers(
        self, running: _Running, estimator: HeadPoseEstimator, missing: list[str]
    ) -> dict[str, object]:
        statistics = running.statistics
        received, processed = statistics.get("received"), statistics.get("processed")
        input_rate, output_rate = running.rates.update(time.monotonic(), received, processed)
        return {
            "input rate (Hz)": input_rate,
            "processed rate (Hz)": output_rate,
            "images received": received,
            "images processed": processed,
            "images dropped": running.mailbox.dropped,
            "images repeated": statistics.get("repeated"),
            "images refused": statistics.get("refused"),
            "images failed": statistics.get("failed"),
            "time jumps": statistics.get("resets"),
            "processing p50 (s)": statistics.processing_quantile(0.5),
            "processing p95 (s)": statistics.processing_quantile(0.95),
            "latency p50 (s)": statistics.age_quantile(0.5),
            "latency p95 (s)": statistics.age_quantile(0.95),
            "faces": statistics.faces,
            "forward passes": estimator.forward_passes,
            "detector runs": running.pipeline.detections,
            "outputs wanted": ", ".join(self.outputs.wanted(self.settings)) if self.outputs else "",
            "missing inputs": ", ".join(missing),
            "device": str(estimator.device),
            "backend": estimator.backend_name,
            "checkpoint": estimator.checkpoint.info.name,
        }


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or shutdown: status 0; 2 for unusable parameters."""
    return run("headpose", HeadPoseNode, started=HeadPoseNode.autostart, args=args)


if __name__ == "__main__":
    sys.exit(main())
