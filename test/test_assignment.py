"""Pairs that cost least together: what scipy says."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from trg_ros.errors import InputError
from trg_ros.tracking.assignment import cheapest_pairs


@pytest.mark.parametrize("whole_numbers", [False, True])
def test_as_cheap_as_scipys(whole_numbers: bool) -> None:
    """Also where many pairs cost the same, or nearly nothing against others."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        cost = rng.normal(size=rng.integers(1, 9, 2))
        if whole_numbers:
            cost = np.rint(cost)
        cost[rng.random(cost.shape) < 0.3] = 1e4
        pairs = cheapest_pairs(cost)
        assert len(pairs) == min(cost.shape)
        rows, columns = (set(side) for side in zip(*pairs, strict=True))
        assert len(rows) == len(columns) == len(pairs)
        assert pairs == sorted(pairs)
        assert sum(cost[pair] for pair in pairs) == pytest.approx(cost[linear_sum_assignment(cost)].sum())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_pair(shape: tuple[int, int]) -> None:
    assert cheapest_pairs(np.zeros(shape)) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_endless_costs_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="must be finite"):
        cheapest_pairs(np.array([[1.0, value], [2.0, 3.0]]))
