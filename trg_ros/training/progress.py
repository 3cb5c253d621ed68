"""How a run is going: a line now and then, and two CSV files."""

import csv
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

if TYPE_CHECKING:
    from trg_ros.training.trainer import Trainer

_log = logging.getLogger(__name__)
LOG_INTERVAL = 100


class RunLog:
    """A progress line every LOG_INTERVAL steps and two CSV files: training means and held-out
    measurements."""

    def __init__(self, path: Path, last: int) -> None:
        self._last, self._path = last, path
        self._rows: list[dict[str, float]] = []
        self._clock = time.monotonic()
        self._samples: int | None = None
        self._file: TextIO = path.open("a", newline="")

    def add(self, trainer: "Trainer", row: dict[str, float]) -> None:
        if self._samples is None:
            self._samples = trainer.samples_seen
        self._rows.append(row)
        if trainer.step % LOG_INTERVAL and trainer.step != self._last:
            return
        now = time.monotonic()
        rate = (trainer.samples_seen - self._samples) / max(now - self._clock, 1e-9)
        per_step = (now - self._clock) / len(self._rows)
        means = {name: float(np.mean([r[name] for r in self._rows])) for name in row}
        _log.info(
            "step %d/%d  %d samples  %.0f/s  loss %.3f  geodesic %.2f deg  pool %d  %.0f min left",
            trainer.step, self._last, trainer.samples_seen, rate, means["loss"], means["geodesic_deg"],
            len(trainer.dataset), (self._last - trainer.step) * per_step / 60,
        )  # fmt: skip
        self._write(
            self._file, {"step": trainer.step, "samples": trainer.samples_seen, "per_second": rate, **means}
        )
        self._rows, self._clock, self._samples = [], now, trainer.samples_seen

    def measurement(self, trainer: "Trainer", result: dict[str, float]) -> None:
        text = "  ".join(f"{name} {value:.4g}" for name, value in result.items())
        _log.info("held out at step %d: %s", trainer.step, text)
        with self._path.with_name("held_out.csv").open("a", newline="") as file:
            self._write(file, {"step": trainer.step, "samples": trainer.samples_seen, **result})
        self._clock = time.monotonic()

    def close(self) -> None:
        self._file.close()

    @staticmethod
    def _write(file: TextIO, row: dict[str, float]) -> None:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(row)
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row.values()])
        file.flush()
