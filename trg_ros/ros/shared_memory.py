"""Fast DDS's shared memory: what killed processes left there, and whose we can't read.

Each participant has a segment in /dev/shm, 64 MiB large with our profile, and holds a lock on a file beside
it while it lives. Nobody removes the segment of a process that was killed: memory goes with every crash.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import time
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path("/dev/shm")
_SEGMENT = re.compile(r"fast(dds|rtps)_[0-9a-f]{16}")
_SETTLED_S = 60.0
"""What is younger may not be locked yet."""


def sweep(folder: Path = _FOLDER) -> tuple[int, float]:
    """Remove the segments that killed processes of this user left; how many there were, and their MB."""
    swept, size_mb = 0, 0.0
    for segment in _segments(folder):
        try:
            status = segment.stat()
            if status.st_uid != os.geteuid() or time.time() - status.st_ctime < _SETTLED_S:
                continue
            with _lock_file(segment).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if its process lives
                segment.unlink()
                _lock_file(segment).unlink()
        except OSError:
            continue
        swept, size_mb = swept + 1, size_mb + 1e-6 * 512 * status.st_blocks
    return swept, size_mb


def unreadable_owners(folder: Path = _FOLDER) -> list[str]:
    """Users with living participants on this machine whose segments we can't open."""
    users = set()
    for segment in _segments(folder):
        try:
            if not os.access(segment, os.R_OK | os.W_OK) and _is_locked(segment):
                users.add(_user_name(segment.stat().st_uid))
        except OSError:  # it went meanwhile
            continue
    return sorted(users)


def _segments(folder: Path) -> Iterator[Path]:
    """None where there is no such folder."""
    return (path for path in folder.glob("fast*_*") if _SEGMENT.fullmatch(path.name))


def _lock_file(segment: Path) -> Path:
    return segment.with_name(f"{segment.name}_el")


def _is_locked(segment: Path) -> bool:
    try:
        with _lock_file(segment).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    return False


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
