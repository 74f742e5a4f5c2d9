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


def table(*results: Result, width: int = 120, limit: int = 0) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(summary_table(summarise(results), limit))
    return console.export_text()


def test_seeds_of_a_variant_are_one_row_with_mean_and_sample_deviation() -> None:
    [row] = summarise([result(0, 0.90), result(1, 0.92), result(2, 0.97)])
    assert row.values == {"experiment": "unprune", "prune.amount": 0.2}
    assert (len(row.finished), row.failed) == (3, 0)
    last = table(result(0, 0.90), result(1, 0.92), result(2, 0.97)).rstrip().splitlines()[-1]
    # The deviation is sqrt((9 + 1 + 16) / 2) / 100.
    assert last.split() == ["prune.amount=0.2", "3", "93.00", "±", "3.61%", "20.00%", "4", "11.0"]


def test_one_seed_has_no_deviation() -> None:
    text = table(result(0, 0.9))
    assert "90.00%" in text
    assert "±" not in text


def test_rows_keep_the_order_of_the_trials_and_experiments_stay_apart() -> None:
    rows = summarise([result(0, 0.9, amount=0.3), result(0, 0.8, experiment="other"), result(1, 0.9, amount=0.3)])
    assert [(*row.values.values(), len(row.finished)) for row in rows] == [
        ("unprune", 0.3, 2),
        ("other", 0.2, 1),
    ]


def test_of_many_variants_the_best_and_the_worst_of_each_experiment_are_shown() -> None:
    many = [result(0, 1 - amount / 1000, amount=amount / 1000) for amount in range(100)]
    other = [result(0, 0.5, experiment="other", amount=amount / 10) for amount in (1, 2)]
    broken = result(0, 0.0, "no layer matches", amount=0.2)
    lines = [line.split()[:2] for line in table(broken, *other, *many, limit=4).splitlines() if line.strip()][2:]
    rows = ["unprune", "prune.amount=0.0", "prune.amount=0.001", "…", "prune.amount=0.099", "prune.amount=0.2"]
    assert [line[0] for line in lines] == [*rows, "other", "prune.amount=0.1", "prune.amount=0.2"]
    assert lines[3] == ["…", "97"]


def test_failed_trials_are_counted_and_nothing_else() -> None:
    results = [result(0, 0.9), result(1, 0.1, error="no layer matches"), result(2, 0.8)]
    [row] = summarise(results)
    assert (len(row.finished), row.failed) == (2, 1)
    text = table(*results)
    assert "failed" in text.splitlines()[1]
    assert "85.00 ± 7.07%" in text


def test_a_variant_of_which_every_trial_failed_has_no_figures() -> None:
    text = table(result(0, 0.9, error="no"))
    assert text.rstrip().splitlines()[-1].split() == ["prune.amount=0.2", "0", *"––––", "1"]


def test_stopped_trials_are_counted_and_may_have_no_accuracy() -> None:
    stopped = [replace(result(seed, 0, amount=0.3), metrics={"val/accuracy": 0.1}, stopped="asha") for seed in (0, 1)]
    results = [result(0, 0.9), replace(result(1, 0.8), stopped="asha"), *stopped]
    head, *rows = [line.split() for line in table(*results).splitlines() if any(c.isalnum() for c in line)]
    assert head[-1] == "stopped"
    assert rows[1] == ["prune.amount=0.2", "2", "85.00", "±", "7.07%", "20.00%", "4", "10.5", "1"]
    assert rows[2] == ["prune.amount=0.3", "2", "–", "–", "4", "10.5", "2"]


def test_layers_without_weights_are_named_with_the_trials_if_they_are_not_so_in_all() -> None:
    empty = [
        replace(result(seed, 0.1, amount=0.3), metrics={"test/accuracy": 0.1, "sparsity": 0.3, **layers})
        for seed, layers in enumerate([{"empty_layers/fc": 1.0, "empty_layers/conv": 1.0}, {"empty_layers/fc": 1.0}])
    ]
    back = replace(result(0, 0.9), metrics={"test/accuracy": 0.9, "sparsity": 0.2, "empty_layers/fc": 0.0})
    head, *rows = [line.split() for line in table(back, *empty).splitlines() if any(c.isalnum() for c in line)]
    assert head[-2:] == ["empty", "layers"]
    assert rows[1][-1] == "10.0"
    assert rows[2][-6:] == ["fc,", "conv", "(1", "of", "2", "trials)"]


def test_the_best_variant_is_that_of_the_best_mean_among_those_that_came_to_their_end() -> None:
    some, others = [result(0, 0.8), result(1, 0.9)], [result(0, 0.7, amount=0.3), result(1, 0.99, amount=0.3)]
    failed = [result(0, 0.99, amount=0.4), result(1, 0.99, amount=0.4, error="no")]
    stopped = [replace(result(0, 0.99, amount=0.5), stopped="asha")]
    nowhere = [result(0, float("nan"), amount=0.6)]
    results = [*some, *others, *failed, *stopped, *nowhere]
    assert best(results, "test/accuracy", maximize=True) == ("prune.amount=0.2", pytest.approx(0.85), 2)
    assert best(results, "test/accuracy", maximize=False) == ("prune.amount=0.3", pytest.approx(0.845), 2)
    assert best(results, "val/loss", maximize=False) is None


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
