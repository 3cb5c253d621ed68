"""What exists only while the node is active: inputs, the worker and all between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from trg_ros.ros.diagnostics import (
    Rates,
    gpu_memory_mb,
    judge,
    losses,
    missing_inputs,
    slowness,
)
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


_WARNINGS = ("intrinsics", "frame_id", "stamp", "late", "jump", "clock", "filtering_frame")
"""What the log complains of although images are answered."""


class Active:
    """Subscribes to nothing before `follow_demand`; `start` starts the worker, `stop` ends it."""

    def __init__(
        self,
        node: Node,
        estimator: HeadPoseEstimator,
        outputs: Outputs,
        log: ThrottledLog,
        settings: Callable[[], Settings],
    ) -> None:
        """Everything as the settings are now.

        :raises TrgRosError: for settings that this machine can't serve.
        """
        now = settings()
        self._node, self._estimator, self._outputs = node, estimator, outputs
        self._log, self._settings = log, settings
        self.statistics, self._mailbox = Statistics(), Mailbox[Frame]()
        intrinsics = self._intrinsics = IntrinsicsStore()
        self.inputs = Inputs(node, now, self._mailbox, intrinsics, self.statistics)
        self._fixed_frame = FixedFrame(node, now.filtering_frame) if now.filtering_frame else None
        self.pipeline = Pipeline(
            estimator,
            make_tracker(estimator, now, self.statistics, log),
            intrinsics,
            outputs,
            self.statistics,
            log,
            lambda: float(node.get_clock().now().nanoseconds) * 1e-9,
            Smoothing(self._fixed_frame, log),
        )
        process, idle = self.pipeline.process, self.pipeline.idle
        self._worker = Worker(self._mailbox, process, settings, self.statistics, log, idle, node.context.ok)
        self._rates = Rates()

    def start(self) -> None:
        """From now on images are processed."""
        self._worker.start()

    def stop(self) -> None:
        """Unsubscribe, let the worker finish, take the markers back."""
        self.inputs.close()
        if not self._worker.stop():
            self._node.get_logger().error("the worker is stuck in an image; its thread is left behind")
        elif self._node.context.ok():
            self.pipeline.reset()
        self.pipeline.close()
        if self._fixed_frame is not None:
            self._fixed_frame.close()

    def follow_demand(self) -> None:
        """Subscribe to images exactly while somebody listens to a result."""
        self.inputs.refresh(wanted=bool(self._outputs.wanted(self._settings())))

    def status(self) -> tuple[bytes, str, dict[str, object]]:
        """(level, message, numbers) for diagnostics; names missing inputs in the log, too. Once a second."""
        settings, statistics, arrivals = self._settings(), self.statistics, self.inputs.arrivals
        missing = missing_inputs(self._node, self.inputs, self._intrinsics, statistics, settings)
        for item in missing:
            self._log.warn(f"missing {item.name}", item.fix)
        received, processed = statistics.get("received"), statistics.get("processed")
        counts = received, processed, self.pipeline.detections, arrivals.lost, arrivals.overtaken
        rates = self._rates.update(time.monotonic(), *counts)
        problems = [
            *filter(None, (statistics.last_problem, statistics.detector_problem)),
            *losses(rates[0], *rates[3:]),
            *slowness(statistics.processing_quantile(0.5)),
            *self._log.recent(*_WARNINGS),
        ]
        level, message = judge(missing, statistics.last_fault, problems, self.inputs.is_open)
        numbers: dict[str, object] = {
            "input rate (Hz)": rates[0],
            "processed rate (Hz)": rates[1],
            "detector rate (Hz)": rates[2],
            **self._numbers(),
            "missing inputs": ", ".join(item.name for item in missing),
        }
        return level, message, numbers

    def _numbers(self) -> dict[str, object]:
        statistics, estimator = self.statistics, self._estimator
        received = statistics.get("received")
        return {
            "images received": received,
            "images processed": statistics.get("processed"),
            "images lost": self.inputs.arrivals.lost,
            "images overtaken": self.inputs.arrivals.overtaken,
            "images without boxes": received - self._mailbox.received,
            "images dropped": self._mailbox.dropped,
            "images repeated": statistics.get("repeated"),
            "images late": statistics.get("late"),
            "images refused": statistics.get("refused"),
            "images failed": statistics.get("failed"),
            "time jumps": statistics.get("resets"),
            "detector runs": self.pipeline.detections,
            "detector failures": statistics.get("detector failures"),
            "processing p50 (s)": statistics.processing_quantile(0.5),
            "processing p95 (s)": statistics.processing_quantile(0.95),
            "age (s)": statistics.age_s,
            "latency p50 (s)": statistics.age_quantile(0.5),
            "latency p95 (s)": statistics.age_quantile(0.95),
            "faces": statistics.faces,
            "forward passes": estimator.forward_passes,
            "outputs wanted": ", ".join(self._outputs.wanted(self._settings())),
            "device": str(estimator.device),
            "GPU memory (MB)": gpu_memory_mb(estimator.device),
            "backend": estimator.backend_name,
            "checkpoint": estimator.checkpoint.info.name,
        }
