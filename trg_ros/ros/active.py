"""What exists only while the node is active: inputs, the worker and all between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trg_ros.ros.diagnostics import Rates, gpu_memory_mb, judge, missing_inputs
from trg_ros.ros.frame import Frame
from trg_ros.ros.inputs import Inputs
from trg_ros.ros.intrinsics import IntrinsicsStore
from trg_ros.ros.loading import make_tracker
from trg_ros.ros.mailbox import Mailbox
from trg_ros.ros.pipeline import Pipeline
from trg_ros.ros.smoothing import FixedFrame, Smoothing
from trg_ros.ros.statistics import Statistics
from trg_ros.ros.worker import Worker

if TYPE_CHECKING:
    from rclpy.node import Node

    from trg_ros.estimator import HeadPoseEstimator
    from trg_ros.ros.log import ThrottledLog
    from trg_ros.ros.parameters import Settings
    from trg_ros.ros.publishers import Outputs


@dataclass
class Active:
    """Made by `start`, which starts the worker; `stop` ends it."""

    node: Node
    estimator: HeadPoseEstimator
    outputs: Outputs
    log: ThrottledLog
    settings: Callable[[], Settings]
    mailbox: Mailbox[Frame]
    statistics: Statistics
    intrinsics: IntrinsicsStore
    fixed_frame: FixedFrame | None
    pipeline: Pipeline
    worker: Worker
    inputs: Inputs
    _rates: Rates = field(default_factory=Rates)

    @classmethod
    def start(
        cls,
        node: Node,
        estimator: HeadPoseEstimator,
        outputs: Outputs,
        log: ThrottledLog,
        settings: Callable[[], Settings],
    ) -> Active:
        """Everything as the settings are now; nothing is subscribed to yet.

        :raises TrgRosError: for settings that this machine can't serve.
        """
        now = settings()
        statistics, mailbox = Statistics(), Mailbox[Frame]()
        intrinsics = IntrinsicsStore(node.resolve_topic_name("camera_info"))
        fixed_frame = FixedFrame(node, now.filtering_frame) if now.filtering_frame else None
        pipeline = Pipeline(
            estimator,
            make_tracker(estimator, now, statistics, log),
            intrinsics,
            outputs,
            statistics,
            log,
            lambda: float(node.get_clock().now().nanoseconds) * 1e-9,
            Smoothing(fixed_frame, log),
        )
        worker = Worker(mailbox, pipeline.process, settings, statistics, log, pipeline.idle, node.context.ok)
        inputs = Inputs(node, now, mailbox, intrinsics, statistics)
        active = cls(
            node,
            estimator,
            outputs,
            log,
            settings,
            mailbox,
            statistics,
            intrinsics,
            fixed_frame,
            pipeline,
            worker,
            inputs,
        )
        worker.start()
        return active

    def stop(self) -> None:
        """Unsubscribe, let the worker finish, take the markers back."""
        self.inputs.close()
        if not self.worker.stop():
            self.node.get_logger().error("the worker is stuck in an image; its thread is left behind")
        elif self.node.context.ok():
            self.pipeline.reset()
        self.pipeline.close()
        if self.fixed_frame is not None:
            self.fixed_frame.close()

    def follow_demand(self) -> None:
        """Subscribe to images exactly while somebody listens to a result."""
        self.inputs.refresh(wanted=bool(self.outputs.wanted(self.settings())))

    def status(self) -> tuple[bytes, str, dict[str, object]]:
        """(level, message, numbers) for diagnostics; names missing inputs in the log, too. Once a second."""
        missing = missing_inputs(self.node, self.inputs, self.intrinsics, self.statistics, self.settings())
        for item in missing:
            self.log.warn(f"missing {item.name}", item.fix)
        problem = self.statistics.last_problem or self.statistics.detector_problem
        level, message = judge(missing, problem, self.inputs.is_open)
        return level, message, self._numbers([item.name for item in missing])

    def _numbers(self, missing: list[str]) -> dict[str, object]:
        statistics, pipeline = self.statistics, self.pipeline
        received, processed, searched = (
            statistics.get("received"),
            statistics.get("processed"),
            pipeline.detections,
        )
        input_rate, output_rate, detector_rate = self._rates.update(
            time.monotonic(), received, processed, searched
        )
        return {
            "input rate (Hz)": input_rate,
            "processed rate (Hz)": output_rate,
            "detector rate (Hz)": detector_rate,
            "images received": received,
            "images processed": processed,
            "images lost": self.inputs.arrivals.lost,
            "images overtaken": self.inputs.arrivals.overtaken,
            "images without boxes": received - self.mailbox.received,
            "images dropped": self.mailbox.dropped,
            "images repeated": statistics.get("repeated"),
            "images refused": statistics.get("refused"),
            "images failed": statistics.get("failed"),
            "time jumps": statistics.get("resets"),
            "detector runs": searched,
            "detector failures": statistics.get("detector failures"),
            "processing p50 (s)": statistics.processing_quantile(0.5),
            "processing p95 (s)": statistics.processing_quantile(0.95),
            "age (s)": statistics.age_s,
            "latency p50 (s)": statistics.age_quantile(0.5),
            "latency p95 (s)": statistics.age_quantile(0.95),
            "faces": statistics.faces,
            "forward passes": self.estimator.forward_passes,
            "outputs wanted": ", ".join(self.outputs.wanted(self.settings())),
            "missing inputs": ", ".join(missing),
            "device": str(self.estimator.device),
            "GPU memory (MB)": gpu_memory_mb(self.estimator.device),
            "backend": self.estimator.backend_name,
            "checkpoint": self.estimator.checkpoint.info.name,
        }
