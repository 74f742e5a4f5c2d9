import io
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from framework._plan import TrialPlan
from framework._report.figures import trial_figure
from framework._report.table import Result, best, summarise, summary_table
from framework._stage import Record


def make_plan(*stages: str, **fields: Any) -> TrialPlan:
    plan = TrialPlan(
        experiment="unprune",
        swept={"prune.amount": 0.2},
        seed=1,
        model={"name": "convnet"},
        data={"dataset": {"name": "digits"}, "validation": 0.1, "augment": []},
        stages=tuple({"name": name} for name in stages),
        resources={"cpu": 1, "gpu": "auto"},
        keys=("initial", "key"),
        stage_epochs=(4,),
    )
    return replace(plan, **fields)


PLAN = make_plan("train", "prune", "train")
RECORDS = [
    Record(1, 0, {"train/loss": 2.0, "val/loss": 2.1, "train/accuracy": 0.5, "val/accuracy": 0.4, "sparsity": 0}, 0.0),
    Record(2, 0, {"train/loss": 1.0, "val/loss": 1.1, "train/accuracy": 0.7, "val/accuracy": 0.6, "sparsity": 0}, 0.0),
    Record(2, 1, {"sparsity": 0.2, "sparsity/fc": 0.3, "sparsity/conv": 0.1}, 0.0),
    Record(3, 2, {"train/loss": 1.5, "val/loss": 1.6, "train/accuracy": 0.6, "val/accuracy": 0.5, "sparsity": 0.2}, 0),
    Record(3, 2, {"test/accuracy": 0.55, "test/loss": 1.55, "sparsity": 0.2}, 0.0),
]


def line(axes: Axes, label: str) -> list[tuple[float, float]]:
    [found] = [line for line in axes.lines if line.get_label() == label]
    return [(float(x), float(y)) for x, y in zip(*found.get_data(), strict=True)]


def texts(axes: Axes) -> dict[str, float]:
    """The labels above a panel, and where they stand."""
    return {text.get_text(): text.get_position()[0] for text in axes.texts}


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def test_a_trials_curves_run_over_one_epoch_axis() -> None:
    loss, accuracy, sparsity = trial_figure(PLAN, RECORDS).axes
    assert line(loss, "train") == [(1, 2.0), (2, 1.0), (3, 1.5)]
    assert line(loss, "validation") == [(1, 2.1), (2, 1.1), (3, 1.6)]
    assert line(accuracy, "train") == [(1, 0.5), (2, 0.7), (3, 0.6)]
    assert line(accuracy, "validation") == [(1, 0.4), (2, 0.6), (3, 0.5)]
    assert line(accuracy, "test: 55.00%") == [(3, 0.55)]
    assert sparsity.get_xlabel() == "epoch"
    assert loss.get_xlim() == sparsity.get_xlim()


def test_pruning_is_a_vertical_jump_of_the_sparsity() -> None:
    _, _, sparsity = trial_figure(PLAN, RECORDS).axes
    assert line(sparsity, "all weights") == [(1, 0.0), (2, 0.0), (2, 0.2), (3, 0.2), (3, 0.2)]


def test_every_layers_sparsity_is_there_behind_that_of_all() -> None:
    _, _, sparsity = trial_figure(PLAN, RECORDS).axes
    layers = [(x, y) for x, y in line(sparsity, "each layer") if x == x]
    assert layers == [(2, 0.1), (2, 0.3)]


def test_the_frozen_fraction_is_drawn_only_where_something_is_frozen() -> None:
    frozen = [replace(r, metrics={**r.metrics, "frozen": 0.25}) for r in RECORDS]
    thawed = [replace(r, metrics={**r.metrics, "frozen": 0.0}) for r in RECORDS]
    assert {y for _, y in line(trial_figure(PLAN, frozen).axes[2], "frozen")} == {0.25}
    assert "frozen" not in [found.get_label() for found in trial_figure(PLAN, thawed).axes[2].lines]


def test_stages_are_named_where_they_stand_with_what_is_swept() -> None:
    loss, accuracy, _ = trial_figure(PLAN, RECORDS).axes
    assert [(t.get_text(), t.get_position()[0]) for t in loss.texts] == [
        ("train", 1.0),
        ("train", 2.5),
        ("prune amount=0.2", 2.0),
    ]
    assert [p.get_x() for p in accuracy.patches] == [0, 2]  # shaded
    assert [p.get_x() + p.get_width() for p in accuracy.patches] == [2, 3]
    assert [found.get_xdata()[0] for found in accuracy.lines if found.get_linestyle() == "--"] == [2]


def test_stages_at_one_epoch_share_a_line_and_a_label() -> None:
    plan = make_plan("freeze", "prune", "train")
    records = [Record(0, 0, {"sparsity": 0.0}, 0.0), Record(0, 1, {"sparsity": 0.2}, 0.0), replace(RECORDS[0], stage=2)]
    assert "freeze, prune amount=0.2" in texts(trial_figure(plan, records).axes[0])


def test_labels_that_find_no_room_are_left_out() -> None:
    plan = make_plan(*["prune", "train"] * 60, swept={})
    records = [Record(index // 2 + index % 2, index, {"sparsity": 0.1}, 0.0) for index in range(120)]
    figure = trial_figure(plan, records)
    png(figure)
    boxes = sorted((t.get_window_extent() for t in figure.axes[0].texts), key=lambda box: box.x0)
    assert len(boxes) > 5
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("records", [[], RECORDS[:1], RECORDS], ids=["none", "one", "all"])
def test_any_number_of_records_makes_a_png(records: list[Record]) -> None:
    assert png(trial_figure(PLAN, records)).startswith(b"\x89PNG")


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
    stopped = [replace(result(seed, 0, amount=0.3), metrics={"val/accuracy": 0.1}, stopped=True) for seed in (0, 1)]
    results = [result(0, 0.9), replace(result(1, 0.8), stopped=True), *stopped]
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
    stopped = [replace(result(0, 0.99, amount=0.5), stopped=True)]
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
