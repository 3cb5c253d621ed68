"""The order of the rooms as docs/architecture.md draws it: nothing imports what stands to its right."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Imports against the order, by the module that has them; the page says why.
AGAINST_THE_ORDER = {("trg_ros.detection", "finder")}
#: Neither is a room: the package's version and public names, and the messages that are generated.
EVERYBODYS = {"__version__", "msg"}
MAY_KNOW_ROS = {"ros", "demo", "benchmark"}
ROS = {"rclpy", "rclpy_action", "std_msgs", "sensor_msgs", "geometry_msgs", "diagnostic_msgs", "tf2_ros"}


def drawn_order() -> dict[str, int]:
    """Each room's place, counted from the left, in the indented block that begins with `errors ->`."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = text[text.index("    errors ->") :].split("\n\n")[0]
    floors = enumerate(" ".join(drawing.split()).split("->"))
    return {room.strip(): place for place, floor in floors for room in floor.split(",")}


ORDER = drawn_order()


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.glob("trg_ros/**/*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name not in ("trg_ros.__init__", "trg_ros.__main__") and not name.startswith("trg_ros.msg."):
            yield name.removesuffix(".__init__"), path


def imported(path: Path) -> Iterator[str]:
    """Everything that a module imports anywhere, for type checkers too, as far as it is named."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import, which no other module has"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The longest name in the drawing that the module is, or is in."""
    parts = module.split(".")[1:]
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in ORDER), parts[0])


def test_every_module_has_a_place_and_every_place_a_module() -> None:
    assert {room_of(name) for name, _ in modules()} == ORDER.keys(), "docs/architecture.md draws other rooms"


def test_nothing_imports_what_stands_to_its_right() -> None:
    against = set()
    for name, path in modules():
        mine = room_of(name)
        others = {room_of(one) for one in imported(path) if one.startswith("trg_ros.")} - EVERYBODYS - {mine}
        against |= {(name, other) for other in others if ORDER[other] >= ORDER[mine]}
    assert against == AGAINST_THE_ORDER


def test_only_three_rooms_know_ros() -> None:
    known = {room_of(name) for name, path in modules() if ROS & {one.split(".")[0] for one in imported(path)}}
    assert known == MAY_KNOW_ROS
