"""Numbers on the command line: what can't be meant is refused before anything is loaded or written."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from math import isfinite


def at_least(smallest: int) -> Callable[[str], int]:
    """A `type` for argparse: a whole number that is no smaller than ``smallest``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < smallest:
            raise ArgumentTypeError(f"{number} is too small; it must be at least {smallest}")
        return number

    return parse


def positive(text: str) -> float:
    """A `type` for argparse: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None
    if not (isfinite(number) and number > 0):
        raise ArgumentTypeError(f"{text} must be a finite number above 0")
    return number
