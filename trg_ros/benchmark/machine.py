"""What the numbers were measured on, without saying whose machine it is."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trg_ros import __version__

_PACKAGES = ("torch", "openvino", "onnxruntime", "numpy", "opencv-python-headless", "yuface", "ros-rclpy")
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd")


def describe_machine(label: str | None = None) -> dict[str, Any]:
    """:param label: what to call the machine; None: the CPU's own name."""
    info = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", info, re.MULTILINE)
    known = set(flags.group(1).split()) if flags else set()
    memory = re.search(r"^MemTotal:\s*(\d+)", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "machine": label or (model.group(1).strip() if model else platform.machine()),
        "cpus": os.cpu_count(),
        "cpu_features": [feature for feature in _FEATURES if feature in known],
        "memory_gib": round(int(memory.group(1)) / 2**20, 1) if memory else None,
        "gpus": _gpus(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {"trg_ros": __version__, **_versions()},
    }


def load() -> list[float]:
    """Processes that want to run, averaged over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _gpus() -> list[str]:
    """Those that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
