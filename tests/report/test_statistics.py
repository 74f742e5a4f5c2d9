import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from framework._report.statistics import deviation, interval, mean, without_outliers


def test_the_interval_is_the_one_worked_out_by_hand() -> None:
    # Mean 0.93, s = sqrt((9 + 1 + 16) / 2) / 100, t(0.975, 2) = 4.302653: half = 4.302653 · s / √3.
    low, high = interval([0.90, 0.92, 0.97]) or ()
    assert (low, high) == (pytest.approx(0.84043, abs=1e-5), pytest.approx(1.01957, abs=1e-5))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.floats(0.5, 0.999))
def test_it_is_scipys(values: list[float], confidence: float) -> None:
    assume(max(values) - min(values) > 1e-6)
    expected = stats.t.interval(confidence, len(values) - 1, stats.tmean(values), stats.tsem(values))
    assert interval(values, confidence) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_it_holds_the_values_that_a_t_test_at_5_percent_does_not_reject() -> None:
    values = [0.91, 0.93, 0.94, 0.9, 0.92]
    low, high = interval(values) or ()
    for end in (low, high):
        assert stats.ttest_1samp(values, end).pvalue == pytest.approx(0.05)


@pytest.mark.parametrize("values", [[], [0.9]])
def test_fewer_than_two_values_have_none(values: list[float]) -> None:
    assert interval(values) is None


def test_equal_values_have_one_without_width() -> None:
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("values", [[math.nan, 1.0], [math.inf, 1.0], [math.inf, -math.inf], [1e308, 1e308, -1e308]])
def test_whatever_trials_report_has_a_mean_and_a_deviation(values: list[float]) -> None:
    assert isinstance(mean(values), float)
    assert isinstance(deviation(values), float)
    low, high = interval(values) or (0.0, 0.0)
    assert not low > high


def test_what_lies_far_out_is_left_out_of_eight_values_and_more() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]  # quartiles with one more: 2.25 and 6.75
    assert without_outliers([*values, 20.2]) == [*values, 20.2]
    assert without_outliers([*values, 20.3]) == values
    assert without_outliers([-20.0, *values]) == values
    assert without_outliers([1.0, 1.0, 1.0, 1.0, 9.0]) == [1.0, 1.0, 1.0, 1.0, 9.0]
    assert without_outliers([3.0] * 8) == [3.0] * 8
