import io
from dataclasses import replace
from typing import Any

import pytest
from plans import make_plan
from rich.console import Console

from framework._plan.result import Result
from framework._report.table import best, summarise, summary_table


def result(seed: int, accuracy: float, error: str | None = None, amount: float = 0.2, **fields: Any) -> Result:
    plan = make_plan("train", swept={"prune.amount": amount}, seed=seed, **fields)
    return Result(plan, {"test/accuracy": accuracy, "sparsity": amount}, 4, 10.0 + seed, error)


def table(*results: Result, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(summary_table(summarise(results)))
    return console.export_text()


def test_seeds_of_a_variant_are_one_row_with_mean_and_sample_deviation() -> None:
    [row] = summarise([result(0, 0.90), result(1, 0.92), result(2, 0.97)])
    assert (row.experiment, row.variant, row.seeds, row.epochs) == ("unprune", "prune.amount=0.2", 3, 4)
    assert row.accuracy == pytest.approx(0.93)
    assert row.spread == pytest.approx(0.036055512754639)  # sqrt((9 + 1 + 16) / 2) / 100
    assert row.sparsity == pytest.approx(0.2)
    assert row.seconds == 11.0
    assert row.failed == 0


def test_one_seed_has_no_deviation() -> None:
    text = table(result(0, 0.9))
    assert "90.00%" in text
    assert "±" not in text


def test_rows_keep_the_order_of_the_trials_and_experiments_stay_apart() -> None:
    rows = summarise([result(0, 0.9, amount=0.3), result(0, 0.8, experiment="other"), result(1, 0.9, amount=0.3)])
    assert [(row.experiment, row.variant, row.seeds) for row in rows] == [
        ("unprune", "prune.amount=0.3", 2),
        ("other", "prune.amount=0.2", 1),
    ]


def test_failed_trials_are_counted_and_nothing_else() -> None:
    results = [result(0, 0.9), result(1, 0.1, error="no layer matches"), result(2, 0.8)]
    [row] = summarise(results)
    assert (row.seeds, row.failed) == (2, 1)
    assert row.accuracy == pytest.approx(0.85)
    text = table(*results)
    assert "failed" in text.splitlines()[1]
    assert "85.00 ± 7.07%" in text


def test_a_variant_of_which_every_trial_failed_has_no_figures() -> None:
    [row] = summarise([result(0, 0.9, error="no")])
    assert (row.accuracy, row.spread, row.sparsity, row.seconds) == (None, None, None, None)
    assert "–" in table(result(0, 0.9, error="no"))


def test_stopped_trials_are_counted_and_may_have_no_accuracy() -> None:
    stopped = [replace(result(seed, 0, amount=0.3), metrics={"val/accuracy": 0.1}, stopped="asha") for seed in (0, 1)]
    results = [result(0, 0.9), replace(result(1, 0.8), stopped="asha"), *stopped]
    assert [(row.seeds, row.stopped, row.accuracy) for row in summarise(results)] == [
        (2, 1, pytest.approx(0.85)),
        (2, 2, None),
    ]
    head, *rows = [line.split() for line in table(*results).splitlines() if any(c.isalnum() for c in line)]
    assert head[-1] == "stopped"
    assert [row[-1] for row in rows[1:]] == ["1", "2"]
    assert rows[2] == ["prune.amount=0.3", "2", "–", "–", "4", "10.5", "2"]


def test_the_best_variant_is_that_of_the_best_mean_among_those_that_came_to_their_end() -> None:
    some, others = [result(0, 0.8), result(1, 0.9)], [result(0, 0.7, amount=0.3), result(1, 0.99, amount=0.3)]
    failed = [result(0, 0.99, amount=0.4), result(1, 0.99, amount=0.4, error="no")]
    stopped = [replace(result(0, 0.99, amount=0.5), stopped="asha")]
    nowhere = [result(0, float("nan"), amount=0.6)]
    results = [*some, *others, *failed, *stopped, *nowhere]
    assert best(results, "test/accuracy", "max") == ("prune.amount=0.2", pytest.approx(0.85), 2)
    assert best(results, "test/accuracy", "min") == ("prune.amount=0.3", pytest.approx(0.845), 2)
    assert best(results, "val/loss", "min") is None


def test_the_table_says_what_it_must() -> None:
    text = table(result(0, 0.95), result(1, 0.97), result(0, 0.5, experiment="baseline"), width=80)
    head, *rows = [line.split() for line in text.splitlines() if any(c.isalnum() for c in line)]
    assert head == ["variant", "seeds", "test", "accuracy", "sparsity", "epochs", "seconds"]
    assert rows == [
        ["unprune"],
        ["prune.amount=0.2", "2", "96.00", "±", "1.41%", "20.00%", "4", "10.5"],
        ["baseline"],
        ["prune.amount=0.2", "1", "50.00%", "20.00%", "4", "10.0"],
    ]
