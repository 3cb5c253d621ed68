"""Pairs that cost least together. scipy knows this as well, but takes longer to import than all the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trg_ros.errors import InputError

Array = NDArray[np.float64]


def cheapest_pairs(cost: Array) -> list[tuple[int, int]]:
    """Pairs (row, column), by row, as many as possible; no row and no column in two of them.

    Shortest augmenting paths: each row gets a column in turn, where that is cheaper by moving rows that have
    one already (D. F. Crouse, On implementing 2D rectangular assignment algorithms, 2016).

    :param cost: (R, C) of each pair.
    :raises InputError: unless they are finite.
    """
    if not np.isfinite(cost).all():
        raise InputError(f"costs of pairs must be finite, not {cost.tolist()}")
    rows, columns = cost.shape
    if rows > columns:
        return sorted((row, column) for column, row in cheapest_pairs(cost.T))
    cheapest = cost.argmin(axis=1).tolist() if rows else []
    if len(set(cheapest)) == rows:  # what each would choose can be had
        return list(enumerate(cheapest))
    row_of = np.full(columns, -1)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    for row in range(rows):
        length, before = np.full(columns, np.inf), np.full(columns, -1)
        reached = np.zeros(columns, np.bool_)
        moved, column, so_far = row, -1, 0.0
        while moved >= 0:  # until a column is free
            through = so_far + cost[moved] - row_price[moved] - column_price
            shorter = ~reached & (through < length)
            length[shorter], before[shorter] = through[shorter], column
            column = int(np.where(reached, np.inf, length).argmin())
            so_far, reached[column], moved = length[column], True, row_of[column]
        row_price[row] += so_far
        column_price[reached] -= so_far - length[reached]
        others = reached & (row_of >= 0)
        row_price[row_of[others]] += so_far - length[others]
        while column >= 0:
            row_of[column] = row if before[column] < 0 else row_of[before[column]]
            column = before[column]
    return sorted((int(row), column) for column, row in enumerate(row_of) if row >= 0)
