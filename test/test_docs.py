"""README, docs and CONTRIBUTING name only what there is: commands, options, files and tests."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trg_ros import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))}


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


def test_command_lines_are_taken() -> None:
    """Each one in a code block names a command and options that there are."""
    tried = set()
    for name, page in PAGES.items():
        for line in page.read_text(encoding="utf-8").splitlines():
            if not re.match(r"\s*trg-headpose [a-z]", line):
                continue
            arguments = shlex.split(line, comments=True)[1:]
            try:
                cli._parser(arguments).parse_args(arguments)
            except SystemExit:
                pytest.fail(f"{name}: {line.strip()}")
            tried.add(arguments[0])
    assert tried == set(cli._COMMANDS), "README and docs show every command"


@pytest.mark.parametrize("name", PAGES)
def test_what_is_named_is_there(name: str) -> None:
    """Links, files of the repository (messages as ROS names them), modules and tests."""
    text = PAGES[name].read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [link for link in links if not (PAGES[name].parent / link).exists()]
    for page, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
        if anchor not in _anchors(PAGES[name].parent / page if page else PAGES[name]):
            missing.append(f"{page}#{anchor}")
    files = re.findall(r"(?<![\w/-])((?:trg_ros|test|config|docs|launch|underlay)/[\w./-]*\w)", text)
    missing += [path for path in files if not (ROOT / path).exists() and not _message(path).is_file()]
    for module in re.findall(r"`(\w+\.py)`", text):
        missing += [] if any(ROOT.glob(f"*/**/{module}")) else [module]
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "test").glob("*.py"))
    missing += [test for test in re.findall(r"`(test_\w+)`", text) if f"def {test}(" not in tests]
    assert missing == []


def _anchors(page: Path) -> set[str]:
    """Where links can point to in a page: its headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _message(name: str) -> Path:
    return ROOT / "msg" / f"{name.removeprefix('trg_ros/')}.msg"
