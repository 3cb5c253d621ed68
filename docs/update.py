#!/usr/bin/env python3
"""Write the generated tables into README.md and the model cards into docs/models.md (`make docs`); `--check`
only says whether they are current.

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MODELS = ROOT / "docs" / "models.md"


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


def model_cards() -> str:
    """The packaged checkpoints, by name."""
    from trg_ros.checkpoint import load_checkpoint
    from trg_ros.model_card import model_card

    heading = "# Models\n\nThe packaged checkpoints in their words (`trg-headpose info --markdown FILE`).\n"
    paths = [ROOT / "trg_ros" / "weights" / f"{name}.safetensors" for name in ("trg-base", "trg-small")]
    cards = [heading, *(model_card(path, load_checkpoint(path)) for path in paths if path.exists())]
    return "\n".join(cards)


def main() -> int:
    """Update the files; with --check, status 1 if that would change one."""
    wanted = {README: updated(README.read_text(encoding="utf-8")), MODELS: model_cards()}
    if "--check" in sys.argv[1:]:
        stale = [p for p, text in wanted.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
        return int(bool(stale))
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
