"""The best and the worst of many variants."""

from dataclasses import replace

import pytest
from trial_runs import results_of, trial, variants

from framework._measures import Measures
from framework._report.comparison import compare
from framework._report.excerpt import by_metric, excerpt

HIGHER = Measures({"accuracy": True})


def means(limit: int, measures: Measures) -> list[float]:
    values = {f"a{amount}": [(amount * 7 % 10) / 10] for amount in range(10)}  # in no order
    found = compare(results_of(*[replace(one, measures=measures) for one in variants(**values)]))
    return [variant.mean for variant in excerpt(found, limit, by_metric).shown]


def test_what_is_no_more_than_the_limit_stays_in_its_order() -> None:
    assert means(10, HIGHER) == means(0, HIGHER) == [(amount * 7 % 10) / 10 for amount in range(10)]


@pytest.mark.parametrize(("limit", "shown"), [(1, [0.9]), (4, [0.9, 0.8, 0.1, 0.0]), (5, [0.9, 0.8, 0.7, 0.1, 0.0])])
def test_half_are_the_best_and_half_the_worst(limit: int, shown: list[float]) -> None:
    assert means(limit, HIGHER) == shown


def test_where_less_is_better_the_least_come_first() -> None:
    assert means(4, Measures({"accuracy": False})) == [0.0, 0.1, 0.8, 0.9]


def test_what_has_no_value_is_the_worst() -> None:
    runs = [*variants(a10=[0.5], a20=[0.9], a30=[0.7]), trial(None, swept={"prune.amount": 0.4}, status="FAILED")]
    part = excerpt(compare(results_of(*runs)), 2, by_metric)
    assert [variant.label for variant in part.shown] == ["prune.amount=0.2", "prune.amount=0.4"]
    assert part.left_out == 2
    assert part.lines([["a", "1"], ["b", "2"]]) == [["a", "1"], ["… 2 more", ""], ["b", "2"]]
