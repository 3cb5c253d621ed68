"""Compiled things on disk: a cache that may be lost, broken, shared or forbidden at any time."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from trg_ros.checkpoint_file import file_digest

T = TypeVar("T")

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
#: Entries that are kept, the most recently made ones; each holds a whole network.
_MAX_ENTRIES = 8
#: What was begun that long ago was never finished: its process was killed.
_ABANDONED_S = 3600.0


def default_cache_directory() -> Path | None:
    """``$XDG_CACHE_HOME/trg_ros``, else ``~/.cache/trg_ros``; None for a user without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return None
    return base / "trg_ros"


class ModelCache:
    """Folders named by a key, written completely or not at all, and checked when they are read."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or default_cache_directory()

    def load_or_build(
        self,
        key: str,
        load: Callable[[Path], T],
        build: Callable[[], T],
        save: Callable[[T, Path], None],
    ) -> T:
        """What is stored under ``key``, or else what ``build`` makes, stored for the next time.

        An entry that is damaged, or that ``load`` fails on, is built anew. A cache that can't be written is
        done without.
        """
        if self._directory is None:
            logger.info("no home folder to cache the model in: set XDG_CACHE_HOME for a quicker start")
            return build()
        entry = self._directory / key
        if _is_there(entry):
            try:
                _check(entry)
                return load(entry)
            except Exception as error:  # whatever a broken file makes a foreign library raise
                logger.warning("cached model %s is unusable (%s): building it again", entry, error)
        value = build()
        try:
            _store(entry, value, save)
        except (OSError, RuntimeError) as error:
            logger.info("the model can't be cached in %s (%s): the next start takes longer", entry, error)
        return value


def _is_there(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # in a folder that this user can't look into
        return False


def _store(entry: Path, value: T, save: Callable[[T, Path], None]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
    try:
        save(value, temporary)
        hashes = {file.name: file_digest(file) for file in temporary.iterdir()}
        (temporary / _MANIFEST).write_text(json.dumps(hashes), encoding="utf-8")
        if entry.exists():
            shutil.rmtree(entry)
        temporary.rename(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _tidy(entry.parent)


def _tidy(directory: Path) -> None:
    """Drop the oldest entries, and what a killed process left half written."""
    begun = [path for path in directory.glob(".*.*") if time.time() - path.stat().st_mtime > _ABANDONED_S]
    entries = [path for path in directory.iterdir() if (path / _MANIFEST).is_file()]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in begun + entries[_MAX_ENTRIES:]:
        shutil.rmtree(path, ignore_errors=True)


def _check(entry: Path) -> None:
    for name, expected in json.loads((entry / _MANIFEST).read_text(encoding="utf-8")).items():
        if file_digest(entry / name) != expected:
            raise ValueError(f"{name} is not what was written")
