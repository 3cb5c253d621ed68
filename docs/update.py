#!/usr/bin/env python3
"""Write the generated tables into README.md (`make docs`); `--check` only says whether they are current.

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def parameters() -> str:
    """The node's parameters."""
    from trg_ros.ros.parameters import Settings

    return Settings.markdown()


def video_source_parameters() -> str:
    """The video source's parameters."""
    from trg_ros.ros.video_source import VideoSourceSettings

    return VideoSourceSettings.markdown()


TABLES: dict[str, Callable[[], str]] = {
    "parameters": parameters,
    "video_source parameters": video_source_parameters,
}


def updated(text: str) -> str:
    """`text` with every table made anew. :raises ValueError: where a table's place is missing."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(
                f"no place for the table {name!r}: <!-- begin {name} --> ... <!-- end {name} -->"
            )
        content = table().strip() + "\n"
        text = pattern.sub(lambda match, content=content: match[1] + content + match[2], text)
    return text


def main() -> int:
    """Update README.md; with --check, status 1 if that would change it."""
    before = README.read_text(encoding="utf-8")
    after = updated(before)
    if "--check" in sys.argv[1:]:
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
