"""What runs the network: one small protocol, one module for each runtime."""

from trg_ros.backends.protocol import Backend, NetworkResult
from trg_ros.backends.selection import BACKENDS, make_backend, resolve_device
from trg_ros.backends.torch_backend import TorchBackend

__all__ = [
    "BACKENDS",
    "Backend",
    "NetworkResult",
    "TorchBackend",
    "make_backend",
    "resolve_device",
]
