"""What killed processes leave in Fast DDS's shared memory, and users that can't read each other's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from trg_ros.ros import shared_memory
from trg_ros.ros.shared_memory import sweep, unreadable_owners

DEAD, LIVING = "fastdds_00aa5184aab46ffc", "fastrtps_014b0843f77fb00d"


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """A folder like /dev/shm."""
    for name in (DEAD, LIVING, "fastdds_port7000", "fastdds_port61163", "sem.fastdds_port7000_mutex"):
        (tmp_path / name).write_bytes(bytes(100_000))
        (tmp_path / f"{name}_el").touch()
    (tmp_path / "somebody_elses").touch()
    return tmp_path


def test_only_what_nobody_holds_any_more_is_removed(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name for path in memory.iterdir()}
    assert sweep(memory) == (0, 0.0)  # all of it is young
    monkeypatch.setattr(shared_memory, "_SETTLED_S", -1.0)
    with (memory / f"{LIVING}_el").open("rb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        swept, size_mb = sweep(memory)
    assert swept == 1 and size_mb == pytest.approx(0.1, abs=0.01)
    assert before - {path.name for path in memory.iterdir()} == {DEAD, f"{DEAD}_el"}


def test_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep(tmp_path) == sweep(tmp_path / "missing") == (0, 0.0)
    assert unreadable_owners(tmp_path) == unreadable_owners(tmp_path / "missing") == []


def test_what_others_own_is_left_and_named(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen as somebody else, who may not open the segments."""
    monkeypatch.setattr(shared_memory, "_SETTLED_S", -1.0)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert sweep(memory) == (0, 0.0)
    assert unreadable_owners(memory) == []  # dead ones
    with (memory / f"{LIVING}_el").open("rb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        monkeypatch.setattr(shared_memory, "_user_name", lambda uid: f"user {uid}")
        assert unreadable_owners(memory) == [f"user {os.getuid()}"]
