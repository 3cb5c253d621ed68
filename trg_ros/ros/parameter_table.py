"""ROS parameters from a dataclass: names, types, defaults, ranges and descriptions stand in one place.

Declaring them, checking them, writing the YAML file and printing README's table all read that dataclass.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from trg_ros.errors import InputError

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter

_TYPE_NAMES = {str: "string", bool: "bool", int: "int", float: "double"}
TableT = TypeVar("TableT", bound="ParameterTable")


def parameter(
    default: str | bool | int | float,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str = "",
    live: bool = False,
    read_only: bool = False,
) -> Any:
    """A field of a `ParameterTable`.

    :param low: smallest value of a number; numbers need `low` and `high`.
    :param choices: the allowed strings.
    :param pattern: a regular expression that a string has to match in full.
    :param live: the value may change while the node is configured.
    :param read_only: the value is read at start and never again.
    """
    metadata = {
        "description": description,
        "low": low,
        "high": high,
        "choices": choices,
        "pattern": pattern,
        "live": live,
        "read_only": read_only,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ParameterTable:
    """Base of the tables. An instance holds the values of all parameters at one moment, checked.

    :raises InputError: by the constructor, saying which value is wrong and what is allowed.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))

    def replaced(self: TableT, changes: Mapping[str, Any]) -> TableT:
        """A copy with `changes`; names that are not in the table are ignored. Raises InputError."""
        known = {field.name for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: value for name, value in changes.items() if name in known})

    def reason_to_refuse(self, changes: Iterable[Parameter[Any]], configured: bool) -> str:
        """Why a set of changes can't be taken; empty if it can.

        :param configured: what is only read when the node is configured can't change now.
        """
        try:
            changed = self.replaced({change.name: change.value for change in changes})
        except InputError as error:
            return str(error)
        for field in dataclasses.fields(self):
            fixed = configured and not field.metadata["live"]
            if fixed and getattr(changed, field.name) != getattr(self, field.name):
                return (
                    f"parameter '{field.name}' is read when the node is configured: set it at start, or "
                    "after `ros2 lifecycle set <node> deactivate` and `cleanup`"
                )
        return ""

    @classmethod
    def declare(cls: type[TableT], node: Node) -> TableT:
        """Declare every parameter on `node` and return what the launch file or command line gave.

        :raises InputError: a given value has another type or lies out of range.
        """
        from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

        for field in dataclasses.fields(cls):
            try:
                node.declare_parameter(field.name, field.default, _descriptor(field))
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                raise InputError(f"parameter '{field.name}': {error}; allowed: {_allowed(field)}") from error
        return cls.read(node)

    @classmethod
    def read(cls: type[TableT], node: Node) -> TableT:
        """All parameters as they are now. Raises InputError."""
        return cls(**{field.name: node.get_parameter(field.name).value for field in dataclasses.fields(cls)})

    @classmethod
    def markdown(cls) -> str:
        """README's table."""
        lines = ["| parameter | default | type | allowed | live | meaning |", "|---|---|---|---|---|---|"]
        for field in dataclasses.fields(cls):
            kind, live = _TYPE_NAMES[type(field.default)], "yes" if field.metadata["live"] else ""
            lines.append(
                f"| `{field.name}` | `{_shown(field.default)}` | {kind} | {_allowed(field)} | {live} "
                f"| {field.metadata['description']} |"
            )
        return "\n".join(lines) + "\n"

    @classmethod
    def yaml(cls) -> str:
        """A parameter file with every default, explained."""
        lines = ["/**:", "  ros__parameters:"]
        for field in dataclasses.fields(cls):
            allowed = _allowed(field)
            lines.append(f"    # {field.metadata['description']}" + (f" [{allowed}]" if allowed else ""))
            lines.append(f"    {field.name}: {_shown(field.default)}")
        return "\n".join(lines) + "\n"


def _checked(field: Any, value: Any) -> Any:
    name, kind = field.name, type(field.default)
    low, high, choices, pattern = (field.metadata[key] for key in ("low", "high", "choices", "pattern"))
    if kind is float and type(value) is int:  # `60` for `60.0`, as people write it on a command line
        value = float(value)
    if value is None:
        raise InputError(f"parameter '{name}' can't be deleted: it must be of type {_TYPE_NAMES[kind]}")
    if type(value) is not kind:
        given = _TYPE_NAMES.get(type(value), type(value).__name__)
        raise InputError(
            f"parameter '{name}' is {value!r} of type {given}: it must be of type {_TYPE_NAMES[kind]}"
        )
    if kind in (int, float) and not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"parameter '{name}' is {value}; it must lie in {low:g} .. {high:g}")
    if choices and value not in choices:
        raise InputError(f"parameter '{name}' is '{value}'; it must be one of {', '.join(choices)}")
    if pattern and not re.fullmatch(pattern, value):
        raise InputError(f"parameter '{name}' is '{value}'; it must be like {pattern}")
    return value


def _descriptor(field: dataclasses.Field[Any]) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    low, high = field.metadata["low"], field.metadata["high"]
    descriptor = ParameterDescriptor(
        description=field.metadata["description"], read_only=field.metadata["read_only"]
    )
    if type(field.default) is int:
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif type(field.default) is float:
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    else:
        descriptor.additional_constraints = _allowed(field)
    # rclpy would refuse a whole number for a double without saying what to do: our own check takes it.
    descriptor.dynamic_typing = True
    return descriptor


def _allowed(field: dataclasses.Field[Any]) -> str:
    metadata = field.metadata
    if metadata["low"] is not None:
        return f"{metadata['low']:g} .. {metadata['high']:g}"
    return ", ".join(metadata["choices"])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)
