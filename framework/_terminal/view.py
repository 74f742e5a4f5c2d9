"""Show the progress of trials: a live table on a terminal, otherwise a line from time to time."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from framework._executors.events import Ended, Retried, Started, TrialEvent
from framework._executors.recorder import View
from framework._measures import CLASSIFIED, Measures
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._report.metrics import called
from framework._stage import Record
from framework._terminal.console import count, duration, say
from framework._trial import Noted, Recorded, StagesEnded

# Without a terminal, at most one line per trial in this time.
_LINE_SECONDS = 10.0


@contextmanager
def make_view(console: Console) -> Iterator[View]:
    """Give a live view if the console is a terminal, otherwise one that prints plain lines."""
    if not console.is_terminal:
        yield PlainView(console)
        return
    view = LiveView(console)
    with Live(console=console, get_renderable=view.render, refresh_per_second=4, transient=True):
        yield view


@dataclass
class _Running:
    plan: TrialPlan
    measures: Measures = CLASSIFIED
    shown: float = field(default_factory=time.monotonic)
    began: float = field(default_factory=time.time)
    record: Record | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    next: int = 0

    @property
    def stage(self) -> str:
        return str(self.plan.stages[self.next]["name"])

    def value(self, *names: str) -> float | None:
        """The first of these metrics that has been reported."""
        return next((self.metrics[name] for name in names if name in self.metrics), None)


class PlainView:
    """Prints a line when a trial ends, and now and then while it runs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.running: dict[tuple[str, str], _Running] = {}
        self.total = self.coming = self.done = self.epochs_total = self.epochs_done = 0
        self.began = time.monotonic()
        self.expected: float | None = None  # how many seconds all of it takes, by earlier runs
        self.notes: set[str] = set()

    def planned(
        self, plans: Sequence[TrialPlan], done: int, coming: int, epochs: int, seconds: float | None = None
    ) -> None:
        self.total, self.coming, self.began = len(plans) + coming, coming, time.monotonic()
        self.epochs_total, self.expected = epochs, seconds
        earlier = f", {done} finished earlier" if done else ""
        suggested = f", up to {coming} of them suggested on the way" if coming else ""
        self.line(f"{count(self.total, 'trial')} to run{suggested}{earlier}{self.left()}")

    def suggested(self, plans: Sequence[TrialPlan], spared: int) -> None:
        self.coming -= len(plans) + spared
        self.total -= spared
        self.epochs_total += sum(plan.epochs for plan in plans)

    def handle(self, plan: TrialPlan, event: TrialEvent) -> None:
        match event:
            case Started(measures):
                if not self.running and not self.done:
                    self.began = time.monotonic()  # starting Ray tells nothing of the pace of epochs
                self.running[plan.identity] = _Running(plan, measures)
            case Recorded(record):
                self._recorded(self.running[plan.identity], record)
            case Noted(text):
                if text not in self.notes:  # all trials of a sweep say the same
                    self.notes.add(text)
                    self.remarked(text)
            case StagesEnded(ends):
                for end in ends:
                    self.running[plan.identity].next = min(end.stage + end.whole, len(plan.stages) - 1)
            case Retried(result):
                self.line(f"{plan.experiment} {plan.name}: tried again, as it failed: {result.error}")
                self.running[plan.identity] = _Running(plan, self.running[plan.identity].measures)
            case Ended(result):
                self._ended(self.running.pop(plan.identity), result)

    def remarked(self, text: str) -> None:
        self.line(f"note: {text}")

    def _recorded(self, running: _Running, record: Record) -> None:
        if record.time >= running.began:  # else it is known from another trial, or from an earlier run
            self.epochs_done += record.epoch - (running.record.epoch if running.record else 0)
        running.record = record
        running.metrics.update(record.metrics)
        self.progressed(running)

    def _ended(self, running: _Running, result: Result) -> None:
        self.done += 1
        head = f"[{self.done}/{self.total}] {running.plan.experiment} {running.plan.name}"
        if result.error:
            self.line(f"{head}: FAILED: {result.error}")
            return
        metric = f"test/{running.measures.primary}"
        primary, sparsity = running.value(metric), running.value("sparsity")
        epochs = running.record.epoch if running.record else 0
        if result.stopped:
            head = f"{head}: {result.stopped}"
        self.line(
            f"{head}: {called(metric)} {_number(primary, '.4f')}, sparsity {_number(sparsity, '.4f')}, "
            f"{count(epochs, 'epoch')}, {result.seconds:.1f} s"
        )

    def progressed(self, running: _Running) -> None:
        now = time.monotonic()
        if now - running.shown >= _LINE_SECONDS:
            running.shown = now
            named = zip(_columns([running])[1:], _cells(running)[1:], strict=True)
            cells = ", ".join(f"{name} {cell}" for name, cell in named)
            self.line(f"{running.plan.experiment} {running.plan.name}: {cells}{self.left()}")

    def line(self, text: str) -> None:
        say(self.console, text)

    def left(self) -> str:
        """The estimated time left, from the epochs so far, and at first from what earlier runs took."""
        known = self.total - self.coming
        # Trials that are still to be suggested are assumed to be as long as the known ones.
        scale = self.total / known if known else 0.0
        done = self.epochs_done / (self.epochs_total * scale) if self.epochs_total * scale else 0.0
        passed = time.monotonic() - self.began
        if done >= 1 or not (done or (self.expected and scale)):
            return ""
        # The more is done, the more it counts how fast that was.
        whole = passed / done if self.expected is None else passed + (1 - done) * self.expected * scale
        return f", about {duration((1 - done) * whole)} left"


class LiveView(PlainView):
    """Keeps a table of the running trials below the lines of those that have ended."""

    def progressed(self, running: _Running) -> None:
        """The table shows it."""

    def render(self) -> Group:
        """The table as of now."""
        table, trials = Table(box=None, pad_edge=False), list(self.running.values())
        for column in _columns(trials):
            table.add_column(column, justify="left" if column in ("trial", "stage") else "right")
        for running in trials:
            table.add_row(*_cells(running))
        progress = f"{self.done}/{self.total} trials"
        if self.epochs_total:
            progress += f", {min(self.epochs_done, self.epochs_total)}/{self.epochs_total} epochs"
        return Group(table, Text(progress + self.left(), style="bold"))


def _columns(trials: Sequence[_Running]) -> list[str]:
    primaries = dict.fromkeys(running.measures.primary for running in trials) or [CLASSIFIED.primary]
    return ["trial", "stage", "epoch", "loss", " / ".join(primaries), "sparsity", "images/s"]


def _cells(running: _Running) -> list[str]:
    epoch = running.record.epoch if running.record else 0
    return [
        f"{running.plan.experiment} {running.plan.name}",
        running.stage,
        f"{epoch}/{running.plan.epochs}" if running.plan.epochs else str(epoch),
        _number(running.value("train/loss"), ".4f"),
        _number(running.value(*(f"{split}/{running.measures.primary}" for split in ("val", "train"))), ".4f"),
        _number(running.value("sparsity"), ".4f"),
        _number(running.value("images_per_second"), ",.0f"),
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
