"""The table of faults in docs/reliability.md is that of the tests."""

from __future__ import annotations

from pathlib import Path

from fault_table import Fault, Outcome, marked_faults, with_table, written_faults

RELIABILITY = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"


def test_the_committed_table_lists_the_marked_tests() -> None:
    text = RELIABILITY.read_text(encoding="utf-8")
    assert list(written_faults(text)) == marked_faults(), (
        "run `make reliability` and commit docs/reliability.md"
    )


def test_a_table_says_what_came_out() -> None:
    outcomes = {
        "test_a": Outcome(passed=True, measured=["2.1 s"]),
        "test_b": Outcome(passed=True, failed=True),
        "test_c": Outcome(skipped="needs ROS"),
    }
    faults = [Fault(f"fault {letter}", "survives", f"test_{letter}") for letter in "abcd"]
    text = with_table("before\n<!-- begin faults -->\nold\n<!-- end faults -->\nafter", faults, outcomes)
    results = ["passed; 2.1 s", "**failed**", "skipped: needs ROS", "not run"]
    assert [row.split(" | ")[2] for row in text.splitlines()[4:-2]] == results
    assert list(written_faults(text)) == faults
    again = with_table(text, faults, {"test_b": Outcome(passed=True)})
    assert list(written_faults(again).values()) == ["passed; 2.1 s", "passed", *results[2:]]
    assert text.startswith("before\n") and text.endswith("\nafter")


def test_marks_are_read_from_the_source(tmp_path: Path) -> None:
    source = """
import pytest
@pytest.mark.fault("one", "expected")
@pytest.mark.fault("two", "in " "parts")
def test_both(): pass
def test_none(): pass
"""
    (tmp_path / "test_some.py").write_text(source)
    assert marked_faults(tmp_path) == [
        Fault("one", "expected", "test_both"),
        Fault("two", "in parts", "test_both"),
    ]
