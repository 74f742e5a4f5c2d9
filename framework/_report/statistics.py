"""Means over replicates, and how sure they are: Student's t. Values may be anything that a trial reports."""

import statistics
from collections.abc import Iterable, Sequence
from math import isfinite, nan, sqrt


def mean(values: Iterable[float]) -> float:
    """The mean of one or more values; NaN where it is beyond all floats, or of opposite infinities."""
    try:
        return statistics.fmean(values)
    except (OverflowError, ValueError):
        return nan


def deviation(values: Sequence[float]) -> float:
    """The sample standard deviation of two or more values; NaN where one is not finite."""
    try:
        return statistics.stdev(values) if all(map(isfinite, values)) else nan
    except OverflowError:
        return nan


def without_outliers(values: Sequence[float]) -> list[float]:
    """Leave out values that lie more than three interquartile ranges beyond the quartiles (Tukey 1977: far out)."""
    if len(values) < 8:  # of which quartiles say little
        return list(values)
    low, _, high = statistics.quantiles(values, n=4)
    reach = 3 * (high - low)
    return [value for value in values if low - reach <= value <= high + reach]


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The confidence interval of the mean of values that are drawn independently from one normal distribution.

    Args:
        values: one per replicate.
        confidence: how often such an interval holds the true mean, in (0, 1).

    Returns:
        Its ends; None below two values, which say nothing of how they spread.
    """
    from scipy.special import stdtrit  # a tenth of what scipy.stats takes to import

    if len(values) < 2:
        return None
    middle, error = mean(values), deviation(values) / sqrt(len(values))
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * error
    return middle - half, middle + half
