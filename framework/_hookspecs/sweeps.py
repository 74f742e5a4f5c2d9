"""Hooks that look at the results of trials that have ended."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from framework._hookspecs.marks import hookspec

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

RESULTS = ("sweep_figures",)


@hookspec
def sweep_figures(  # type: ignore[empty-body]
    trials: "DataFrame", history: "Callable[[str], DataFrame]"
) -> "Mapping[str, Figure]":
    """Figures of a sweep, besides the built-in ones: for the summary in MLflow, reports, and `framework figures`.

    Draw on a `matplotlib.figure.Figure`; without pyplot, which keeps figures for ever.

    Args:
        trials: a row for each trial of one experiment or of several, whatever became of it: columns ``experiment``,
            ``variant``, ``seed``, ``status`` (FINISHED, FAILED, KILLED or RUNNING), ``stopped`` (by a scheduler),
            ``run_id``, ``key``; each swept value, such as ``prune.amount``; the last value of each metric, such as
            ``test/accuracy``. What a trial does not have is NaN.
        history: gives all values of a metric: a row for each, with ``experiment``, ``variant``, ``seed``, ``run_id``,
            the swept values, ``epoch``, ``stage`` (its index) and ``value``. Reading them takes time for each trial.

    Returns:
        By names that are not taken and can be names of files; empty if the trials have nothing to show in them.

    Example:
        from framework import hookimpl
        from matplotlib.figure import Figure

        @hookimpl
        def sweep_figures(trials):
            done = trials[trials["status"] == "FINISHED"]
            if "images_per_second" not in done:
                return {}
            figure = Figure(figsize=(6.3, 3), layout="constrained")
            axes = figure.subplots()
            for variant, group in done.groupby("variant", sort=False):
                axes.plot(group["seed"], group["images_per_second"], "o", label=variant)
            axes.set(xlabel="seed", ylabel="images per second")
            axes.legend()
            return {"speed": figure}
    """
