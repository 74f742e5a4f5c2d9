"""The trials of experiments, as tables."""

import csv
import io
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from framework._errors import DataError, nearest
from framework._measures import CLASSIFIED, Measures
from framework._tracking import Reader, TrialRun, valid_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from framework._report.models import Loaded

LAYERS = "layers.csv"  # a file of each run that has come to its end
# Columns that every frame has; then come the swept values, then the metrics.
COLUMNS = ("experiment", "variant", "seed", "status", "stopped", "run_id", "key")


class Results:
    """What came out of experiments: the trials that have a run.

    Args:
        reader: of the tracking store.
        experiments: which ones; None: all that have trials, the oldest first.
        only: the trials to keep, as experiment and key; None: all.

    Attributes:
        reader: of the tracking store.
        experiments: their names.
        trials: the trials, the oldest of each experiment first.

    Raises:
        DataError: there is none of that name; names the nearest.
        TrackingError: the tracking store cannot be reached.
    """

    def __init__(
        self,
        reader: Reader,
        experiments: Sequence[str] | None = None,
        only: Collection[tuple[str, str]] | None = None,
    ) -> None:
        self.reader = reader
        names = reversed(reader.experiments()) if experiments is None else dict.fromkeys(experiments)
        found = {name: reader.trials(name) for name in names}
        self.experiments = [name for name, trials in found.items() if trials or experiments is not None]
        self.trials = [
            trial
            for trials in found.values()
            for trial in trials
            if only is None or (trial.experiment, trial.key) in only
        ]

    @property
    def swept(self) -> list[str]:
        """The short names of the values that were swept, in any of the experiments: columns of `frame`."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.swept))

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics: columns of `frame`."""
        return list(dict.fromkeys(name for trial in self.trials for name in sorted(trial.metrics)))

    @property
    def measures(self) -> Measures:
        """Which metric is the primary one, and whether more of each is better, as the newest trial has it."""
        return self.trials[-1].measures if self.trials else CLASSIFIED

    @property
    def primary(self) -> str:
        """The metric that counts most, without a split, as the newest trial has it: ``accuracy``."""
        return self.measures.primary

    @cached_property
    def _frame(self) -> "DataFrame":
        import pandas

        return pandas.DataFrame([_row(trial) for trial in self.trials], columns=[*COLUMNS, *self.swept, *self.metrics])

    def frame(self) -> "DataFrame":
        """One row per trial, the oldest first.

        Returns:
            Columns ``experiment``, ``variant`` (the swept values, readable), ``seed``, ``status`` (FINISHED, FAILED,
            KILLED or RUNNING), ``stopped`` (by a scheduler), ``run_id`` and ``key``; each swept value by its short
            name, such as ``prune.amount``; the last value of each metric, such as ``test/accuracy``, as a float. What
            a trial does not have is NaN.
        """
        return self._frame.copy()

    def history(self, metric: str) -> "DataFrame":
        """All values of a metric over the epochs, in the order in which they were reported.

        Returns:
            A row per value: columns ``experiment``, ``variant``, ``seed``, ``run_id``, the swept values, ``epoch``,
            ``stage`` (its index) and ``value``.

        Raises:
            DataError: no trial has reported it; names the nearest.
        """
        import pandas

        if metric not in self.metrics:
            raise DataError(f"no trial has reported {metric!r} ({nearest(metric, self.metrics)})")
        rows = [
            {**_identity(trial), **trial.swept, "epoch": point.epoch, "stage": point.stage, "value": point.value}
            for trial in self.trials
            for point in self.reader.history(trial.run_id, metric)
        ]
        columns = ["experiment", "variant", "seed", "run_id", *self.swept, "epoch", "stage", "value"]
        return pandas.DataFrame(rows, columns=columns)

    def compare(
        self, metric: str | None = None, by: Sequence[str] | None = None, baseline: str | None = None
    ) -> "DataFrame":
        """How each variant came out over its seeds, and what sets it apart from a baseline.

        Args:
            metric: whose last values are compared; None: the primary one, on the test set: ``test/accuracy``.
            by: what to group by: short names of swept values, ``experiment``, or any parameter of the runs. None: by
                all that was swept, and by experiment where there are several.
            baseline: what the others are compared with: the label of a group, or a part of it that only one group has:
                an experiment, or values such as ``prune.amount=0.1``.

        Returns:
            A row per group, in the order in which their trials first appear. Columns: ``label``; what it is grouped by;
            ``n``, how many trials count (finished, not stopped, with a finite value); their ``mean`` and sample
            ``std``; ``low`` and ``high``, the 95 % t interval of the mean; ``difference`` to the baseline, the mean
            over the seeds that both have, whose number is ``pairs``, with ``difference_low`` and ``difference_high``,
            its 95 % t interval; ``failed``, how many trials failed; and a ``note``. What cannot be said is NaN.

        Raises:
            DataError: there is no such metric, value or group; names the nearest.
        """
        import pandas

        from framework._report.comparison import compare
        from framework._report.formats import as_rows

        frame = pandas.DataFrame(as_rows(compare(self, metric, by, baseline)))
        ends = [f"{difference}{end}" for difference in ("", "difference_") for end in ("low", "high")]
        return frame.astype(dict.fromkeys(("mean", "std", "difference", *ends), float))

    def load_model(self, trial: Any) -> "Loaded":
        """A trial's network and masks as they were at its end, if the network is as sparse as was recorded.

        Args:
            trial: the id of its run, its row in `frame`, or values of columns that only it has, such as
                ``{"prune.amount": 0.2, "seed": 0}``.

        Returns:
            ``(model, masks)``. The model takes normalised images, float32 (N, channels, height, width), and gives
            outputs (N, classes); it evaluates, on the CPU, and cannot be trained. What images are normalised by is in
            the run's parameters ``data.mean`` and ``data.std``. The masks are bool tensors by parameter name, True =
            may be non-zero; only what is pruned has one.

        Raises:
            DataError: no trial is meant, or several; its run has no network; or a layer's share of exact zeros is not
                the recorded one.
            TrackingError: the tracking store cannot be reached.
        """
        from framework._report.models import find_trial, load_checked

        return load_checked(self.reader, find_trial(self.trials, [_row(one) for one in self.trials], trial))

    def plot_against(self, x: str = "sparsity", metric: str | None = None) -> "Figure":
        """A metric against another one, or against a number that was swept, with 95 % intervals over the seeds.

        Args:
            x: ``sparsity``, ``frozen``, another metric, a swept number such as ``prune.amount``; or ``remaining``, the
                fraction of weights that are not 0, on a logarithmic axis, with variants that are not pruned as a band.
            metric: its last value; None: the primary one, on the test set.

        Raises:
            DataError: no trial has one of them; names the nearest.
        """
        from framework._report.figures.against import plot_against

        return plot_against(self, x, metric)

    def plot_history(self, *metrics: str) -> "Figure":
        """Metrics over the epochs, variant by variant; without any, the primary one of validation, and sparsity.

        Raises:
            DataError: no trial has reported one of them; names the nearest.
        """
        from framework._report.figures.history import plot_history

        return plot_history(self, metrics)

    def plot_variants(self, metric: str | None = None) -> "Figure":
        """The variants side by side: each trial's last value of a metric, and the mean with its 95 % interval.

        Raises:
            DataError: no trial has it; names the nearest.
        """
        from framework._report.figures.dots import plot_variants

        return plot_variants(self, metric)

    def plot_densities(self) -> "Figure":
        """The density of each layer, in forward order, by variant; of many variants, of those pruned the most.

        Raises:
            DataError: none is pruned, too many are, or their networks have different layers.
        """
        from framework._report.figures.densities import plot_densities

        return plot_densities(self)

    def __repr__(self) -> str:
        return f"<Results: {len(self.trials)} trials of {', '.join(self.experiments) or 'no experiment'}>"

    def _repr_html_(self) -> str:
        """For notebooks: what there is, and how it came out."""
        from html import escape

        from framework._report.comparison import compare
        from framework._report.formats import render

        metric = f"test/{self.primary}"
        table = render(compare(self), "html") if metric in self.metrics else ""
        return f"<p>{escape(repr(self)[1:-1])}</p>\n{table}"

    def file(self, run_id: str, name: str) -> bytes | None:
        """A file that a trial's run keeps, such as ``figures/curves.png``; None if it has none of that name."""
        return self.reader.file(run_id, name)

    def stages(self, run_id: str) -> list[str]:
        """The names of the stages of a trial."""
        return next(trial.stages for trial in self.trials if trial.run_id == run_id)

    def layers(self, run_id: str) -> list[str]:
        """The names of a trial's layers that can be pruned, as its metrics ``sparsity/<layer>`` have them.

        They are in forward order; those of a trial that has not come to its end are in the order of their names.
        """
        metrics = next(trial.metrics for trial in self.trials if trial.run_id == run_id)
        known = [name.removeprefix("sparsity/") for name in sorted(metrics) if name.startswith("sparsity/")]
        table = self.file(run_id, LAYERS)
        rows = csv.DictReader(io.StringIO(table.decode())) if table else []
        found = [valid_name(row["layer"]) for row in rows]
        return found if {*found} == {*known} else known


def _identity(trial: TrialRun) -> dict[str, Any]:
    return {"experiment": trial.experiment, "variant": trial.variant, "seed": trial.seed, "run_id": trial.run_id}


def _row(trial: TrialRun) -> dict[str, Any]:
    about = {"status": trial.status, "stopped": trial.stopped, "key": trial.key}
    return {**_identity(trial), **about, **trial.swept, **trial.metrics}
