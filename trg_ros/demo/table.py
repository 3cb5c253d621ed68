"""A small live table: redrawn in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from trg_ros.demo.client import Status

_HEADER = "  id    x [m]    y [m]    z [m]     yaw   pitch    roll      Hz  latency"
_REDRAW_S = 0.2
_LINE_S = 1.0


class LiveTable:
    """Call `update` as often as you like."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._in_place = stream.isatty()
        self._lines_shown = 0
        self._last_s = -1e9
        self._has_header = False

    def update(self, status: Status) -> None:
        """Shows the status, not more often than one can read."""
        now_s = time.monotonic()
        if now_s - self._last_s < (_REDRAW_S if self._in_place else _LINE_S):
            return
        self._last_s = now_s
        lines = _lines(status)
        if self._in_place:
            up = f"\x1b[{self._lines_shown}F\x1b[J" if self._lines_shown else ""
            self._stream.write(up + "\n".join([_HEADER, *lines]) + "\n")
            self._lines_shown = 1 + len(lines)
        else:
            shown = lines if self._has_header else [_HEADER, *lines]
            self._stream.write("\n".join(shown) + "\n")
            self._has_header = True
        self._stream.flush()


def _lines(status: Status) -> list[str]:
    if not status.rows:
        return [f"   -{'no face':>44}  {status.rate_hz:12.1f} {status.latency_ms:5.0f} ms"]
    return [
        f"{row.identity:4d} "
        + "".join(f"{value:9.3f}" for value in row.position)
        + "".join(f"{angle:8.1f}" for angle in row.yaw_pitch_roll_deg)
        + f"{status.rate_hz:8.1f} {status.latency_ms:5.0f} ms"
        for row in status.rows
    ]
