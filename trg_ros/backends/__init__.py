"""What runs the network: one small protocol, one module for each runtime, imported when it is chosen."""

from trg_ros.backends.protocol import Backend, NetworkResult
from trg_ros.backends.selection import BACKENDS, make_backend, resolve_device

__all__ = [
    "BACKENDS",
    "Backend",
    "NetworkResult",
    "make_backend",
    "resolve_device",
]
