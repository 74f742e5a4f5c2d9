"""How sure a mean over replicates is: Student's t."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The confidence interval of the mean of values that are drawn independently from one normal distribution.

    Args:
        values: one per replicate, finite.
        confidence: how often such an interval holds the true mean, in (0, 1).

    Returns:
        Its ends; None below two values, which say nothing of how they spread.
    """
    from scipy.special import stdtrit  # a tenth of what scipy.stats takes to import

    if len(values) < 2:
        return None
    mean, error = fmean(values), stdev(values) / sqrt(len(values))
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * error
    return mean - half, mean + half
