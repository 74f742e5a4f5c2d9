"""A schedule: a function of the time to the factor on the learning rate. Its other parameters are those in YAML."""

from collections.abc import Callable, Mapping
from typing import Annotated

from framework import Interval, hookimpl


def triangular(
    epoch: float,
    epochs: float,
    *,
    peak: Annotated[float, Interval(gt=0, lt=1)] = 0.3,
    start: Annotated[float, Interval(ge=0, le=1)] = 0.1,
    final: Annotated[float, Interval(ge=0, le=1)] = 0.0,
) -> float:
    """A straight line up to the base learning rate, and another one down.

    Args:
        epoch: the time, from 0 to ``epochs``, fractional.
        epochs: the whole time.
        peak: the fraction of the time after which the base learning rate is reached.
        start: the factor at the beginning.
        final: the factor at the end.
    """
    done = epoch / epochs
    if done < peak:
        return start + (1 - start) * done / peak
    return 1 + (final - 1) * (done - peak) / (1 - peak)


@hookimpl
def register_schedules() -> Mapping[str, Callable[..., float]]:
    """The schedules of this package, by the names that specs use."""
    return {"a_plugin": triangular}
