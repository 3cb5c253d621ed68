"""Paths as people write them; in `name:=~/file` no shell writes the home folder out."""

from __future__ import annotations

import os
from pathlib import Path

from trg_ros.errors import InputError


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` for a home folder written out.

    :raises InputError: for the home of a user who isn't there.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"'{os.fspath(path)}': no such user, or one without a home folder") from error
