"""The README's generated tables are those of the code, the model cards those of the checkpoints."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_readme_tables_and_model_cards_are_current() -> None:
    pytest.importorskip("rclpy", reason="the parameter tables need ROS 2")
    pytest.importorskip("trg_ros.msg", reason="the messages are not built")
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "update.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"run `make docs` and commit README.md and docs/models.md\n{result.stderr}"
