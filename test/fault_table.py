"""Pytest plugin: the table of faults in docs/reliability.md comes from tests marked with `fault`.

    @pytest.mark.fault("what goes wrong", "what is expected")

`pytest --reliability-table=docs/reliability.md` runs the marked tests only and writes what came out
between the file's markers. What a test measures (`record_property("measured", "...")`) stands beside its
result.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
_PLACE = re.compile(r"(<!-- begin faults -->\n).*?(<!-- end faults -->)", re.DOTALL)


@dataclass(frozen=True)
class Fault:
    """One row: literals of a marker, and the test that carries it."""

    what: str
    expected: str
    test: str


@dataclass
class Outcome:
    """What all runs (parameters) of one test gave."""

    failed: bool = False
    passed: bool = False
    skipped: str = ""
    measured: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.failed:
            return "**failed**"
        if not self.passed:
            return f"skipped: {self.skipped}"
        return "; ".join(["passed", *self.measured])


def marked_faults(folder: Path = TESTS) -> list[Fault]:
    """All faults that the tests claim, by file and line; read from the source, so nothing is imported."""
    return [fault for path in sorted(folder.glob("test_*.py")) for fault in _faults_in(path)]


def _faults_in(path: Path) -> Iterator[Fault]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield from _faults_of(node)


def _faults_of(function: ast.FunctionDef) -> Iterator[Fault]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
            what, expected = (ast.literal_eval(argument) for argument in decorator.args)
            yield Fault(what, expected, function.name)


def written_faults(text: str) -> dict[Fault, str]:
    """The rows of a file with a table of faults, and their results."""
    place = _PLACE.search(text)
    rows = place[0].splitlines()[3:-1] if place else []
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return {Fault(what, expected, test.strip(" `|")): result for what, expected, result, test in cells}


def with_table(text: str, faults: list[Fault], outcomes: dict[str, Outcome]) -> str:
    """`text` with the table made anew; `outcomes` by the test's name. Others keep their result."""
    before = written_faults(text)
    rows = ["| fault | expectation | result | test |", "|---|---|---|---|"]
    for fault in faults:
        result = outcomes.get(fault.test) or before.get(fault, "not run")
        rows.append(f"| {fault.what} | {fault.expected} | {result} | `{fault.test}` |")
    table = "\n".join(rows) + "\n"
    return _PLACE.sub(lambda match: match[1] + table + match[2], text)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reliability-table", type=Path, metavar="FILE", help="run the fault tests, write their table there"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(what, expected): a row of docs/reliability.md")
    if config.getoption("--reliability-table"):
        config.pluginmanager.register(_Writer(config.getoption("--reliability-table")))


class _Writer:
    """Collects the outcomes of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, Outcome] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        others = [item for item in items if item.get_closest_marker("fault") is None]
        items[:] = [item for item in items if item.get_closest_marker("fault")]
        config.hook.pytest_deselected(items=others)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):  # a whole file, e.g. without ROS
            for fault in _faults_in(Path(report.longrepr[0])):
                self._outcomes[fault.test] = Outcome(skipped=report.longrepr[2].removeprefix("Skipped: "))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("::")[-1].split("[")[0]
        outcome = self._outcomes.setdefault(name, Outcome())
        outcome.failed |= report.failed
        if report.skipped and isinstance(report.longrepr, tuple):
            outcome.skipped = report.longrepr[2].removeprefix("Skipped: ")
        elif report.when == "call":
            outcome.passed |= report.passed
            outcome.measured += [str(value) for key, value in report.user_properties if key == "measured"]

    def pytest_sessionfinish(self) -> None:
        text = self._path.read_text(encoding="utf-8")
        self._path.write_text(with_table(text, marked_faults(), self._outcomes), encoding="utf-8")
