"""How long stages took in earlier runs, by which it is told beforehand how long others will take.

The store has a small file of it for each model, dataset and number of processes that train it together: what the last
stages of every name cost there.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import median

from pydantic import TypeAdapter, ValidationError

from framework._errors import StoreError
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._store import Store
from framework._trial import StageEnd

# What is no stage: a run besides its trials, and a trial besides its stages. Whoever starts first waits for imports.
RUN, FIRST_TRIAL, TRIAL = "(run)", "(first trial)", "(trial)"
END = "(end)"
"""What follows in a stage after its last split: nothing is trained there."""
_LAST = 20  # of each name, on each device
_MANY = 1000
CPU = "CPU"


@dataclass(frozen=True)
class Timing:
    """What one stage took.

    Attributes:
        name: of the stage.
        device: on which it ran: ``CPU``, or the name of a GPU; of what is no stage, the executor.
        threads: how many it used; 0 if that was left to torch.
        seconds: from its start until its result was stored.
        epochs: how many it trained.
        size: bytes that it added to the store.
    """

    name: str
    device: str
    threads: int
    seconds: float
    epochs: int = 0
    size: int = 0


_TIMINGS = TypeAdapter(list[Timing])


@dataclass
class Pace:
    """What stages of one model on one dataset have taken so far.

    Attributes:
        timings: the latest last.
        device: the one that is asked for; None: that of the latest.
    """

    timings: Sequence[Timing]
    device: str | None = None

    @cached_property
    def _here(self) -> list[Timing]:
        device = self.device or next((t.device for t in reversed(self.timings) if t.name not in _APART), None)
        return [t for t in self.timings if t.device == device]

    @property
    def devices(self) -> set[str]:
        """On which the stages ran that are taken for a measure."""
        return {timing.device for timing in self._here}

    def stage(self, name: str, epochs: int, threads: int = 0) -> tuple[float, float] | None:
        """What a stage takes, so far as earlier ones tell.

        Args:
            name: of the stage.
            epochs: how many it trains.
            threads: how many it uses.

        Returns:
            Seconds, and bytes that it adds to the store; None if there were none of the kind. A stage that does not
            train is taken to cost nothing until one has been run.
        """
        found = [timing for timing in self._here if timing.name == name]
        if epochs:  # any stage that trains is a better measure than none
            found = [timing for timing in found or self._here if timing.epochs]
        found = [timing for timing in found if timing.threads == threads] or found
        if not found:
            return None if epochs or not self._here else (0.0, 0.0)
        pace = median(timing.seconds / (timing.epochs if epochs else 1) for timing in found)
        return pace * (epochs or 1), median(timing.size for timing in found)

    def apart(self, name: str, executor: str) -> float:
        """The seconds that `RUN`, `FIRST_TRIAL` or `TRIAL` takes with this executor, or else with others."""
        found = [timing for timing in self.timings if timing.name == name]
        found = [timing for timing in found if timing.device == executor] or found
        return median([timing.seconds for timing in found] or [0.0])


_APART = (RUN, FIRST_TRIAL, TRIAL)


def read_paces(store: Store, plans: Iterable[TrialPlan]) -> list[Pace]:
    """What is known of each trial's model and data; empty where nothing is."""
    known: dict[tuple[str, bool], Pace] = {}
    paces = []
    for plan in plans:
        work = _name(plan), plan.resources["gpu"] == 0
        if work not in known:
            known[work] = Pace(_read(store, work[0]), CPU if work[1] else None)
        paces.append(known[work])
    return paces


@dataclass
class Timings:
    """Takes what the stages of a run take, and keeps it for later ones.

    Attributes:
        store: where it is kept.
        executor: which runs the trials.
    """

    store: Store
    executor: str
    _began: float = field(default_factory=time.monotonic)
    _started: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    _span: list[float] = field(default_factory=list)
    _ended: bool = False
    _stages: dict[tuple[str, str], list[Timing]] = field(default_factory=dict)
    _passed: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # the last split: stage and epochs
    _known: dict[str, list[Timing]] = field(default_factory=dict)

    def trial_started(self, plan: TrialPlan) -> None:
        """A trial starts, or starts again."""
        now = time.monotonic()
        self._started[plan.identity] = now, TRIAL if self._ended else FIRST_TRIAL
        self._stages[plan.identity], self._passed[plan.identity] = [], (-1, 0)
        self._span = [*self._span, now][:1]

    def stage_ended(self, plan: TrialPlan, end: StageEnd) -> None:
        """One of its stages has ended, or come to a split; what it found in the store tells nothing."""
        stage, epochs = self._passed[plan.identity]
        split = stage == end.stage
        self._passed[plan.identity] = end.stage, end.epochs
        if end.executed:
            threads = plan.threads[end.stage] if plan.threads else 0
            name = plan.stages[end.stage]["name"]
            trained = end.epochs - epochs if split else end.epochs
            name = f"{name} {END}" if end.whole and split and not trained else name
            self._stages[plan.identity].append(Timing(name, end.device, threads, end.seconds, trained, end.size))

    def trial_ended(self, result: Result) -> None:
        """A trial has ended; of one that failed only its stages count."""
        began, name = self._started.pop(result.plan.identity)
        timings = self._stages.pop(result.plan.identity)
        del self._passed[result.plan.identity]
        now, known = time.monotonic(), self._known.setdefault(_name(result.plan), [])
        known += timings
        if result.complete:
            rest = now - began - sum(timing.seconds for timing in timings)
            known.append(Timing(name, self.executor, 0, max(0.0, rest)))
        if len(known) > _MANY:  # of thousands of trials
            known[:] = _latest(known)
        self._span, self._ended = [self._span[0], now], True

    @contextmanager
    def kept(self, remark: Callable[[str], None]) -> Iterator[None]:
        """Keep what has been taken when the run ends, however it does.

        Args:
            remark: takes what the user should know.
        """
        try:
            yield
        finally:
            try:
                self._save()
            except StoreError as error:  # the results are none the worse for it
                remark(f"how long stages took is not kept for later runs: {error}")

    def _save(self) -> None:
        whole = time.monotonic() - self._began
        for name, timings in self._known.items():
            rest = Timing(RUN, self.executor, 0, whole - (self._span[-1] - self._span[0]))
            kept = _latest([*_read(self.store, name), *timings, rest])
            self.store.write_note(name, json.dumps([asdict(timing) for timing in kept]).encode())


def _name(plan: TrialPlan) -> str:
    text = json.dumps([plan.model, plan.data, plan.resources.get("processes", 1)], sort_keys=True, default=str)
    return f"pace-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _read(store: Store, name: str) -> list[Timing]:
    content = store.read_note(name)
    try:
        return [] if content is None else _TIMINGS.validate_json(content)
    except ValidationError:  # of another version, or somebody else's: what it tells is a comfort only
        return []


def _latest(timings: Sequence[Timing]) -> list[Timing]:
    counts: dict[tuple[str, str, int], int] = {}
    kept = []
    for timing in reversed(timings):
        kind = timing.name, timing.device, timing.threads
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= _LAST:
            kept.append(timing)
    return kept[::-1]
