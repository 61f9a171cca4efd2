"""Held-out photos: deterministic, interior, evenly spread."""

from itertools import pairwise

import pytest

from recon.data import holdout_split
from recon.data.splits import dtu_test_views, every_nth, spread
from recon.errors import InputError


def test_holdout_is_a_partition_of_interior_views():
    for n in range(2, 30):
        for h in range(n - 1):
            train, test = holdout_split(n, h)
            assert sorted(train + test) == list(range(n))
            assert len(test) == h
            assert train == sorted(train)
            assert test == sorted(test)
            assert {0, n - 1} <= set(train)
            gaps = [b - a for a, b in pairwise(test)]
            assert not gaps or max(gaps) - min(gaps) <= 1


def test_holdout_examples():
    assert holdout_split(12, 3) == ([0, 1, 3, 4, 5, 7, 8, 10, 11], [2, 6, 9])
    assert holdout_split(3, 1)[1] == [1]
    assert holdout_split(5, 0) == ([0, 1, 2, 3, 4], [])


def test_holdout_refuses_to_leave_fewer_than_two():
    with pytest.raises(InputError, match="--holdout 1 or less"):
        holdout_split(3, 2)
    with pytest.raises(InputError, match="leave --holdout away"):
        holdout_split(2, 1)
    with pytest.raises(InputError, match="-1"):
        holdout_split(3, -1)


def test_published_rules():
    train, test = every_nth(20)
    assert test == [0, 8, 16]
    assert spread(train, 3) == [1, 10, 19]
    # RegNeRF's nine inputs leave 25 test views on DTU.
    views = dtu_test_views([25, 22, 28, 40, 44, 48, 0, 8, 13])
    assert len(views) == 25
    assert views[:4] == [1, 2, 9, 10]
    with pytest.raises(InputError):
        spread([1, 2], 3)
