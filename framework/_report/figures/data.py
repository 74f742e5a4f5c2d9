"""What figures show of a trial, as plain data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from framework._measures import CLASSIFIED
from framework._report.figures.stages import Span

if TYPE_CHECKING:
    from framework._plan import TrialPlan
    from framework._stage import Record

CONFUSION, WEIGHTS = "confusion.json", "weights.json"


@dataclass(frozen=True)
class FigureData:
    """What a process that knows neither torch nor a plan needs in order to draw a trial.

    Attributes:
        title: what it is.
        stages: what each is called, with what was swept.
        records: epoch, stage's index and metrics of each, the oldest first.
        files: those that are drawn, by name.
        primary: the metric that counts most, without a split.
    """

    title: str
    stages: Sequence[str]
    records: Sequence[tuple[int, int, Mapping[str, float]]]
    files: Mapping[str, bytes] = field(default_factory=dict)
    primary: str = CLASSIFIED.primary

    def series(self, metric: str) -> list[tuple[float, float]]:
        """Epoch and value, each time that the metric was reported."""
        return [(epoch, metrics[metric]) for epoch, _, metrics in self.records if metric in metrics]

    @cached_property
    def layers(self) -> list[str]:
        """Those whose sparsity was reported, in forward order."""
        names = dict.fromkeys(name for _, _, metrics in self.records for name in metrics)
        return [name.removeprefix("sparsity/") for name in names if name.startswith("sparsity/")]

    @cached_property
    def spans(self) -> list[Span]:
        """The stages that have reported, on the epoch axis."""
        return list(self._spans())

    def _spans(self) -> Iterator[Span]:
        end = 0
        for index, label in enumerate(self.stages):
            epochs = [epoch for epoch, stage, _ in self.records if stage == index]
            if epochs:
                start, end = end, max(epochs)
                yield Span(label, start, end)


def figure_data(
    plan: "TrialPlan", records: "Sequence[Record]", files: Mapping[str, bytes], primary: str = CLASSIFIED.primary
) -> FigureData:
    """Gather what figures show of a trial.

    Args:
        plan: the trial.
        records: what it has reported, in order.
        files: what it has logged.
        primary: its metric that counts most, without a split.
    """
    from framework._plan import short

    def label(stage: str) -> str:
        swept = {name: value for name, value in plan.swept.items() if name.startswith(f"{stage}.")}
        return " ".join([stage, *(f"{name.rpartition('.')[2]}={short(value)}" for name, value in swept.items())])

    return FigureData(
        title=f"{plan.experiment}   {plan.name}",
        stages=[label(stage["name"]) for stage in plan.stages],
        records=[(record.epoch, record.stage, dict(record.metrics)) for record in records],
        files={name: files[name] for name in (CONFUSION, WEIGHTS) if name in files},
        primary=primary,
    )
