"""A ROS domain of its own for this test process; import it before the first participant is made."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def _own_domain() -> tuple[int, socket.socket]:
    """A domain that no other test process of this machine uses while we hold the socket."""
    for domain in range(215, 232):  # seldom used, and none of Linux's ephemeral ports
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", 43100 + domain))
        except OSError:
            lock.close()
            continue
        return domain, lock
    raise RuntimeError("all ROS domains from 215 to 231 are in use on this machine")


if "TRG_TEST_DOMAIN" not in os.environ:
    _domain, _LOCK = _own_domain()
    os.environ["TRG_TEST_DOMAIN"] = os.environ["ROS_DOMAIN_ID"] = str(_domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="trg_ros_log_")
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(REPOSITORY / "config" / "fastdds_large_images.xml")
