"""The figures of a sweep: those that make sense for what was swept, and those of plugins."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from framework._errors import DataError, PluginError, describe
from framework._report.figures import dots, history
from framework._report.figures.against import plot_against
from framework._report.figures.densities import plot_densities
from framework._report.figures.remaining import REMAINING
from framework._report.figures.variants import Row, Sweep, drivers, finished, is_number, variants, varying
from framework._report.statistics import mean
from framework._report.variants import EXPERIMENT, Variant, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from framework._registry import Registry

_VARIES = 0.005  # of the sparsity and of the frozen fraction, between variants
_FAR = 0.8  # a sparsity beyond which a linear axis shows too little
_THERE = 0.001  # of them, below which it is by chance


def sweep_figures(sweep: Sweep) -> "dict[str, Figure]":
    """The figures of a sweep that there is something to show in, judged by what was swept and what came out.

    Args:
        sweep: the results, of one experiment or of several.

    Returns:
        With ``accuracy``, or what else the primary metric is: ``accuracy-against-sparsity`` (instead
        ``accuracy-against-remaining`` if a sparsity is beyond 80 %) and ``accuracy-against-frozen`` where these differ
        between variants, ``accuracy-against-<name>`` for each other number that was swept, ``density-by-layer`` where
        something is pruned and there are variants, ``accuracy-by-variant``
        where something was swept that is no number, ``accuracy-over-epochs`` (with sparsity and frozen fraction) of up
        to seven variants.
    """
    frame = sweep.frame()
    done = frame[(frame["status"] == "FINISHED") & ~frame["stopped"].astype(bool)]
    metric = next((name for name in _primaries(sweep) if name in done and done[name].notna().any()), None)
    figures: dict[str, Figure] = {}
    if metric is not None:
        trials = finished(sweep, metric)
        found = variants(trials, sweep.swept)
        columns = varying(found, sweep.swept)
        measured = [x for x in ("sparsity", "frozen") if x in trials and _spread(found, x) > _VARIES]
        along = {name for x in measured for name in drivers(trials, sweep.swept, x)}
        growing = [column for column in columns if column != EXPERIMENT and is_number(trials, column)]
        if "sparsity" in measured and max(_means(found, "sparsity")) > _FAR:
            measured[measured.index("sparsity")] = REMAINING
        for x in (*measured, *(column for column in growing if column not in along)):
            figures[f"{sweep.primary}-against-{x}"] = plot_against(sweep, x, metric)
        if "sparsity" in trials and sum(sparsity > _THERE for sparsity in _means(found, "sparsity")) > 1:
            with suppress(DataError):  # more variants than can be told apart, or networks with different layers
                figures["density-by-layer"] = plot_densities(sweep)
        if {*columns} - {*growing}:
            figures[f"{sweep.primary}-by-variant"] = dots.plot_variants(sweep, metric)
    if 0 < len(history.shown(sweep)) <= history.MOST and (histories := _histories(sweep)):
        figures[f"{sweep.primary}-over-epochs"] = history.draw_history(sweep, histories)
    return figures


def _primaries(sweep: Sweep) -> list[str]:
    """The primary metric on each split, the one that says most first."""
    return [f"{split}/{sweep.primary}" for split in ("test", "val", "train")]


def _means(found: Sequence[Variant[Row]], x: str) -> list[float]:
    return [mean(values) for variant in found if (values := numbers(variant.trials, x))]


def _spread(found: Sequence[Variant[Row]], x: str) -> float:
    means = _means(found, x)
    return max(means, default=0.0) - min(means, default=0.0)


def _histories(sweep: Sweep) -> "dict[str, DataFrame]":
    """Of the primary metric, and of the sparsity and the frozen fraction where there is any."""
    primary = next((name for name in _primaries(sweep)[1:] if name in sweep.metrics), None)
    read = {name: sweep.history(name) for name in (primary, "sparsity", "frozen") if name in sweep.metrics}
    return {name: values for name, values in read.items() if name == primary or (values["value"] > _THERE).any()}


def _warn(text: str) -> None:
    logging.getLogger("framework").warning(text)


def all_sweep_figures(sweep: Sweep, registry: "Registry", remark: Callable[[str], None] = _warn) -> "dict[str, Figure]":
    """The figures of a sweep, and those that plugins draw of it with the hook ``sweep_figures``.

    Args:
        sweep: the results, of one experiment or of several.
        registry: has the plugins.
        remark: is told which plugin has failed, and why; the figures of the others are there all the same.
    """
    figures = sweep_figures(sweep)
    for source, draw in registry.implementations("sweep_figures"):
        try:
            given = draw(trials=sweep.frame(), history=sweep.history)
            _check(given, figures)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is, it must not take the other figures down
            remark(f"{source}: sweep_figures failed: {describe(error)}")
        else:
            figures |= given
    return figures


def _check(given: object, known: "Mapping[str, Figure]") -> None:
    from matplotlib.figure import Figure

    if not isinstance(given, Mapping):
        raise PluginError(f"it must return figures by name, not {type(given).__name__}")
    for name, figure in given.items():
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]{0,99}", name):
            raise PluginError(
                f"a figure's name becomes a file's: up to 100 letters, digits, '.', '-' and '_', not {name!r}"
            )
        if not isinstance(figure, Figure):
            raise PluginError(f"{name!r} must be a matplotlib.figure.Figure, not {type(figure).__name__}")
        if name in known:
            raise PluginError(f"there is a figure called {name!r} already")
