from dataclasses import replace
from math import isnan

import pytest
from scipy import stats
from trial_runs import results_of, trial, variants

from framework._errors import DataError
from framework._measures import Measures
from framework._report.comparison import compare
from framework._report.variants import Variant
from framework._tracking import TrialRun

DENSE, PRUNED = [0.90, 0.92, 0.97], [0.88, 0.93, 0.95]


def by_label(*trials: TrialRun, **options: object) -> dict[str, Variant[TrialRun]]:
    return {group.label: group for group in compare(results_of(*trials), **options)}


def test_each_variant_is_a_group_in_the_order_of_the_trials() -> None:
    groups = compare(results_of(*variants(a50=DENSE, a20=PRUNED)))
    assert [group.label for group in groups] == ["prune.amount=0.5", "prune.amount=0.2"]
    assert [group.values for group in groups] == [{"prune.amount": 0.5}, {"prune.amount": 0.2}]


def test_its_numbers_are_those_worked_out_by_hand() -> None:
    [group] = compare(results_of(*variants(a20=DENSE)))
    assert (group.n, group.failed, group.note) == (3, 0, "")
    assert group.mean == pytest.approx(0.93)
    assert group.std == pytest.approx(0.0360555, abs=1e-7)  # sqrt((9 + 1 + 16) / 2) / 100
    assert group.interval == (pytest.approx(0.84043, abs=1e-5), pytest.approx(1.01957, abs=1e-5))
    assert (group.difference, group.difference_interval, group.pairs) == (None, (None, None), 0)


def test_the_difference_is_paired_by_seed() -> None:
    groups = by_label(*variants(a00=DENSE, a20=PRUNED), baseline="prune.amount=0.0")
    group = groups["prune.amount=0.2"]
    # Differences −2, +1, −2 points: mean −1, s = √3, half = 4.302653 · √3 / √3 = 4.302653 points.
    assert group.pairs == 3
    assert group.difference == pytest.approx(-0.01)
    assert group.difference_interval[0] == pytest.approx(-0.01 - 0.04302653)
    assert group.difference_interval[1] == pytest.approx(-0.01 + 0.04302653)
    assert group.note == "no difference shown"
    assert groups["prune.amount=0.0"].note == "baseline"
    assert groups["prune.amount=0.0"].difference is None


def test_an_interval_without_0_is_a_paired_t_test_that_rejects() -> None:
    dense, pruned = [0.91, 0.95, 0.90, 0.93], [0.89, 0.935, 0.875, 0.915]
    group = by_label(*variants(a00=dense, a20=pruned), baseline="prune.amount=0.0")["prune.amount=0.2"]
    expected = stats.ttest_rel(pruned, dense).confidence_interval(0.95)
    assert group.difference_interval == pytest.approx((expected.low, expected.high))
    assert group.difference_interval[1] < 0
    assert stats.ttest_rel(pruned, dense).pvalue < 0.05
    assert stats.ttest_ind(pruned, dense).pvalue > 0.05  # unpaired, the seeds' own spread would hide it
    assert group.note == ""


def test_a_note_names_the_layers_that_are_without_weights() -> None:
    layers = {f"empty_layers/conv{i}": 1.0 for i in range(5)}
    [group] = compare(results_of(*(trial(0.1, seed, metrics={"test/accuracy": 0.1, **layers}) for seed in range(3))))
    assert group.note == "no weight left in conv0, conv1, conv2 and 2 more"


def test_only_seeds_that_both_have_are_paired_in_whatever_order_they_ran() -> None:
    base = [trial(value, seed, swept={"amount": 0}) for seed, value in [(2, 0.97), (0, 0.90), (1, 0.92)]]
    other = [trial(value, seed, swept={"amount": 1}) for seed, value in [(1, 0.91), (7, 0.1), (2, 0.93)]]
    group = by_label(*base, *other, baseline="amount=0")["amount=1"]
    assert (group.n, group.pairs) == (3, 2)
    assert group.difference == pytest.approx(-0.025)
    assert group.note == "difference over 2 seeds: too few to decide"


def test_without_a_seed_in_common_there_is_no_difference() -> None:
    group = by_label(trial(0.9, 0, "a"), *[trial(0.8, seed, "b") for seed in (1, 2, 3)], baseline="a")["b"]
    assert (group.difference, group.pairs) == (None, 0)
    assert group.note == "no seed in common with the baseline"


@pytest.mark.parametrize(
    ("values", "note"),
    [([0.9], "one seed: no interval"), ([0.9, 0.8], "2 seeds: too few to decide"), (DENSE, "")],
)
def test_it_says_when_seeds_are_too_few(values: list[float], note: str) -> None:
    [group] = compare(results_of(*variants(a20=values)))
    assert group.note == note
    assert (group.std is None, group.interval == (None, None)) == (len(values) == 1,) * 2


def test_too_few_seeds_are_said_once_with_a_baseline_too() -> None:
    group = by_label(*variants(a00=DENSE, a20=[0.9]), baseline="prune.amount=0.0")["prune.amount=0.2"]
    assert (group.note, group.pairs, group.difference_interval) == ("one seed: no interval", 1, (None, None))
    assert group.difference == pytest.approx(0.0)


def test_failed_trials_are_counted_apart_and_stopped_unfinished_and_diverged_ones_left_out() -> None:
    spoilt = [
        trial(0.1, 3, status="FAILED"),
        trial(0.1, 4, stopped=True),
        trial(0.1, 5, status="KILLED"),
        trial(0.1, 6, status="RUNNING"),
        trial(float("nan"), 7),
        trial(None, 8),
    ]
    [group] = compare(results_of(*(trial(value, seed) for seed, value in enumerate(DENSE)), *spoilt))
    assert (group.n, group.mean, group.failed) == (3, pytest.approx(0.93), 1)
    assert group.note == (
        "1 stopped early, left out; 2 not finished, left out; 2 without a finite test/accuracy, left out"
    )


def test_a_group_of_which_every_trial_failed_is_there_without_numbers() -> None:
    failed = trial(None, swept={"amount": 2}, status="FAILED")
    group = by_label(trial(0.9, swept={"amount": 1}), failed, baseline="amount=1")["amount=2"]
    assert (group.n, group.std, group.interval, group.difference, group.failed) == (0, None, (None, None), None, 1)
    assert isnan(group.mean)
    assert group.note == "no trial counts"


def test_several_experiments_are_told_apart_and_one_may_be_the_baseline() -> None:
    base = [trial(value, seed, "baseline") for seed, value in enumerate(DENSE)]
    groups = by_label(*base, *variants(a20=PRUNED), *variants("unprune", a20=DENSE), baseline="baseline")
    assert [*groups] == ["baseline", "prune prune.amount=0.2", "unprune prune.amount=0.2"]
    assert groups["prune prune.amount=0.2"].difference == pytest.approx(-0.01)
    assert groups["unprune prune.amount=0.2"].difference == 0
    assert groups["baseline"].values == {"experiment": "baseline"}


def test_by_pools_what_is_not_named_and_says_so() -> None:
    def one(value: float, seed: int, amount: float, criterion: str) -> TrialRun:
        return trial(value, seed, swept={"amount": amount, "criterion": criterion})

    trials = [
        one(0.9, 0, 0.1, "magnitude"),
        one(0.8, 0, 0.1, "random"),
        one(0.94, 1, 0.1, "magnitude"),
        one(0.6, 0, 0.2, "magnitude"),
        one(0.7, 0, 0.2, "random"),
        one(0.7, 1, 0.2, "magnitude"),
    ]
    groups = by_label(*trials, by=["amount"], baseline="amount=0.1")
    assert [(group.label, group.n) for group in groups.values()] == [("amount=0.1", 3), ("amount=0.2", 3)]
    assert groups["amount=0.1"].note == "baseline; pooled over criterion"
    # The mean of each seed: 0.85 and 0.94 before, 0.65 and 0.7 now.
    assert groups["amount=0.2"].pairs == 2
    assert groups["amount=0.2"].difference == pytest.approx((-0.2 - 0.24) / 2)
    assert groups["amount=0.2"].note == "difference over 2 seeds: too few to decide; pooled over criterion"


def test_several_experiments_can_be_pooled() -> None:
    trials = [*variants("a", a20=DENSE), *variants("b", a20=PRUNED)]
    [group] = compare(results_of(*trials), by=["prune.amount"])
    assert (group.label, group.n, group.note) == ("prune.amount=0.2", 6, "pooled over experiment")
    assert [group.label for group in compare(results_of(*trials), by=["experiment"])] == ["a", "b"]


def test_what_does_not_have_the_value_is_a_group_of_its_own() -> None:
    groups = compare(results_of(trial(0.9, 0, "baseline"), *variants(a20=[0.8])), by=["prune.amount"])
    assert [(group.label, group.values) for group in groups] == [
        ("baseline", {}),
        ("prune.amount=0.2", {"prune.amount": 0.2}),
    ]


def test_settings_that_were_changed_between_runs_are_not_pooled_without_a_word() -> None:
    short, long = (
        [trial(value, seed, params={"stages.0.train.epochs": epochs}) for seed, value in enumerate(DENSE)]
        for epochs in ("2", "9")
    )
    [group] = compare(results_of(*short, *long))
    assert (group.n, group.note) == (6, "pooled over stages.0.train.epochs")
    apart = compare(results_of(*short, *long), by=["stages.0.train.epochs"])
    assert [group.label for group in apart] == ["stages.0.train.epochs=2", "stages.0.train.epochs=9"]
    twice = compare(results_of(*short, *(replace(one, key="other") for one in short)))
    assert [group.note for group in twice] == ["some seeds count several times"]


def test_a_value_may_be_null_or_a_drawn_number() -> None:
    groups = compare(results_of(*(trial(0.9, swept={"lr": lr}) for lr in (None, 0.012345678901234))))
    assert [group.label for group in groups] == ["lr=None", "lr=0.01235"]


def test_a_part_of_a_label_names_the_baseline_where_only_one_group_has_it() -> None:
    trials = [*variants("a", a10=DENSE, a20=DENSE), *variants("b", a20=DENSE, a30=DENSE)]
    assert by_label(*trials, baseline="prune.amount=0.1")["a prune.amount=0.1"].note == "baseline"
    assert by_label(*trials, baseline="b prune.amount=0.2")["b prune.amount=0.2"].note == "baseline"
    with pytest.raises(DataError) as error:
        compare(results_of(*trials), baseline="prune.amount=0.2")
    assert str(error.value) == (
        "'prune.amount=0.2' may be any of several groups: 'a prune.amount=0.2', 'b prune.amount=0.2'"
    )
    with pytest.raises(DataError, match="'a' may be any of several groups: 'a prune"):
        compare(results_of(*trials), baseline="a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "test/acuracy"}, "no trial has reported 'test/acuracy' (did you mean 'test/accuracy'?)"),
        ({"by": ["prune.amuont"]}, "no trial has a value 'prune.amuont' to group by (did you mean 'prune.amount'?)"),
        (
            {"baseline": "prune.amount=0.21"},
            "no group is called 'prune.amount=0.21' (did you mean 'prune.amount=0.2'?)",
        ),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as error:
        compare(results_of(*variants(a20=DENSE)), **options)
    assert str(error.value) == message


def test_what_counts_most_is_compared_if_nothing_else_is_said() -> None:
    iou = [
        trial(0.9, seed, measures=Measures({"iou": True}), metrics={"test/iou": 0.5, "test/accuracy": 0.9})
        for seed in (0, 1)
    ]
    for results, metric in ((results_of(*iou), "test/iou"), (results_of(trial(0.9)), "test/accuracy")):
        [group] = compare(results)
        assert (group.metric, group.mean) == (metric, results.trials[0].metrics[metric])
        assert f"<th>{metric} ± std</th>" in results._repr_html_()


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataError, match="no trial has a run yet in any experiment"):
        compare(results_of())
