"""Run one trial: from its longest stored prefix on, stage after stage."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from framework._component import build
from framework._data import Source
from framework._emptied import empty_layers
from framework._engine import evaluate, gpu_flags
from framework._errors import StoreError, describe, located
from framework._plan import TrialPlan
from framework._random import derived_seed, random_state_kept
from framework._ranks import decided, others_needed, rank
from framework._registry import Registry
from framework._stage import Record, Stage, Trial
from framework._store import Snapshot, Store
from framework._trial.blame import in_module
from framework._trial.data import task_of
from framework._trial.layout import check_layout, describe_changes, layout, unkept
from framework._trial.model import build_model, make_model
from framework._trial.observers import Observers, notes_to
from framework._trial.plugins import check_plugins
from framework._trial.reports import Noted, Recorded, Report, StageEnd, StagesEnded
from framework._trial.snapshot import History, model_state, restore, restore_progress
from framework._trial.stored import StoredStages
from framework._trial.within import Locks, WithinStage


def run_trial(
    plan: TrialPlan,
    registry: Registry,
    source: Source,
    store: Store,
    report: Callable[[Report], None],
    *,
    checkpoint_seconds: float = 300.0,
    artifacts: dict[str, bytes] | None = None,
) -> Trial:
    """Run those stages of a trial whose results are not stored, then measure on the test set unless the last one did.

    Where several processes run the trial, all of them call this with the same; the first one uses the store, is
    observed and reports.

    Args:
        plan: what to run.
        registry: where its components are looked up, and who observes.
        source: its data.
        store: has the results of stages, and takes them.
        report: takes what the trial reports, on the trial's thread.
        checkpoint_seconds: the longest time between two checkpoints within a stage; there are more where they are
            cheap.
        artifacts: takes the files that are logged, by name, however the trial ends.

    Returns:
        The trial in its final state.

    Raises:
        PluginError: this machine lacks a plugin that the trial uses.
        StageError: a stage cannot do what was asked of it.
        StoreError: the store cannot be read or written.
        Exception: whatever a plugin raises.
    """
    check_plugins(plan, registry)
    if rank():
        report = _ignore
    device = torch.device("cuda" if torch.cuda.is_available() and plan.resources["gpu"] != 0 else "cpu")
    with notes_to(lambda text: report(Noted(text))):
        return _Run(plan, registry, source, store, report, checkpoint_seconds, device).run(artifacts)


def _ignore(report: Report) -> None:
    """The first of several processes has reported it."""


@dataclass
class _Run:
    plan: TrialPlan
    registry: Registry
    source: Source
    store: Store
    report: Callable[[Report], None]
    checkpoint_seconds: float
    device: torch.device
    index: int = 0
    warned: bool = False  # of what is lost of the network after a stage
    history: History = field(default_factory=lambda: History([], []))
    reported: Mapping[str, float] = field(default_factory=dict)
    since: float = 0.0  # when the stage has begun, or has come to its last split
    resumed: Snapshot | None = None  # the checkpoint that the stage goes on from, until it reports

    def __post_init__(self) -> None:
        self.stored = StoredStages(self.plan, self.registry, self.store, self._note)
        self.locks = Locks()

    def run(self, artifacts: dict[str, bytes] | None) -> Trial:
        trial, observers = self._run_stages({} if artifacts is None else artifacts)
        if f"test/{trial.measures.primary}" not in self.reported:
            self.index = len(self.plan.stages) - 1
            self._set_threads()
            trial.emit = lambda epoch, metrics: self._take(trial, epoch, metrics)
            trial.report(evaluate(trial, "test"))
        observers.tell("trial_ended")
        return trial

    def _run_stages(self, artifacts: dict[str, bytes]) -> tuple[Trial, Observers]:
        stages: list[Stage] = [build(self.registry, "stage", stage)() for stage in self.plan.stages]
        trial = self._begin(artifacts)
        observers = Observers(self.registry, trial)
        trial.emit = lambda epoch, metrics: self._take(trial, epoch, observers.measured(metrics))
        observers.tell("trial_started")
        self._go_back_to(trial, range(len(stages), 0, -1))
        while self.index < len(stages):
            with self.locks.hold(self.stored, self.index, self._say_it_waits):
                # Another invocation may have come here in the meantime.
                if self._go_back_to(trial, [self.index + 1]):
                    continue
                self._execute(trial, stages[self.index], observers)
        return trial, observers

    def _set_threads(self) -> None:
        if self.plan.threads:
            torch.set_num_threads(self.plan.threads[self.index])

    def _note(self, text: str) -> None:
        self.report(Noted(text))

    def _say_it_waits(self) -> None:
        name = self.plan.stages[self.index]["name"]
        self._note(f"{self.plan.experiment} {self.plan.name}: waits for the {name} of another run")

    def _begin(self, artifacts: dict[str, bytes]) -> Trial:
        task = task_of(self.source, self.plan.metrics, self.registry)
        trial = Trial(
            model=self._build().to(self.device),
            data=self.source.open(self.device, tuple(self.plan.data["augment"])),
            device=self.device,
            task=task,
            loss=task.loss().to(self.device),
            records=self.history.records,
            artifacts=artifacts,
            initial_state=lambda seed=None: self._build(seed).state_dict(),
            make_model=lambda model: make_model(model, self.source, derived_seed(self.plan.seed, "model")),
        )
        trial.earlier_state = lambda label: self._earlier_state(trial, label)
        return trial

    def _build(self, seed: int | None = None) -> nn.Module:
        plan = self.plan if seed is None else replace(self.plan, seed=seed)
        # With one thread, so that trials begin with equal weights, however many threads their stages use.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return build_model(plan, self.registry, self.source)
        finally:
            torch.set_num_threads(before)

    def _take(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> None:
        if new := {*empty_layers(metrics)} - {*empty_layers(trial.records[-1].metrics if trial.records else {})}:
            after = f"after {self.plan.stages[self.index]['name']}, all weights are pruned of {', '.join(sorted(new))}"
            self._note(f"{self.plan.experiment} {self.plan.name}: {after}")
        record = decided(lambda: Record(epoch, self.index, metrics, time.time()))
        self.reported, self.resumed = record.metrics, None
        trial.records.append(record)
        self.report(Recorded(record))

    # --- restoring ---------------------------------------------------------------------------------------------

    def _go_back_to(self, trial: Trial, counts: Iterable[int]) -> bool:
        """Restore the state after the first of these numbers of stages that is stored; False if none is."""
        for count in counts:
            found = self.stored.load(trial, count)
            if found is not None:
                tensors, snapshot = found
                restore(trial, tensors, snapshot.metadata, self.registry)
                self._tell(trial, History.of(snapshot.metadata), count)
                self.index = count
                return True
        return False

    def _tell(self, trial: Trial, history: History, ended: int) -> None:
        """Report what is known from the store and has not been reported yet."""
        for record in history.records[len(self.history.records) :]:
            self.reported = record.metrics if record.stage == ended - 1 else {}
            self.report(Recorded(record))
        starts = [0, *history.ends]
        found = range(len(self.history.ends), ended)
        ends = (StageEnd(i, self.plan.keys[i + 1], history.ends[i] - starts[i], executed=False) for i in found)
        self.report(StagesEnded(tuple(ends)))
        self.history = history
        trial.records = history.records

    def _earlier_state(self, trial: Trial, label: str) -> Mapping[str, Tensor]:
        count = self.plan.stages_until(label, self.index)
        if count == 0:
            return trial.initial_state()
        found = self.stored.load(trial, count)
        if found is None:
            # It has been dropped, by a limit of the store or by hand: those stages are run once more, on their own.
            self._note(f"the state that is labelled {label!r} is no longer stored; it is computed again")
            with random_state_kept():
                _Run(
                    *(self.plan.until(count), self.registry, self.source, self.store, lambda report: None),
                    *(self.checkpoint_seconds, self.device),
                )._run_stages({})
            self._set_threads()
            found = self.stored.load(trial, count)
        if found is None:
            raise StoreError(f"the state that is labelled {label!r} cannot be stored: the store's limit is too small")
        return model_state(found[0])

    # --- running -----------------------------------------------------------------------------------------------

    def _execute(self, trial: Trial, stage: Stage, observers: Observers) -> None:
        key, name = self.plan.keys[self.index + 1], self.plan.stages[self.index]["name"]
        self.since = time.monotonic()
        self._set_threads()
        # Of its place, not of its parameters: variants of one seed differ only by what differs in them.
        trial.seed = derived_seed(self.plan.seed, "stage", self.index)
        torch.manual_seed(trial.seed)
        self.reported = {}
        trial.recall = self._recall(trial)  # first: with a checkpoint, the history is the one that it has
        within = WithinStage(self.stored, trial, self.index, self.history, self.checkpoint_seconds, self._stage_ended)
        trial.keep, trial.keep_length = within.checkpoint, within.keep_length
        observers.tell("stage_started", name=name, stage=stage)
        before, aside = layout(trial.model), unkept(trial.model)
        entry = self.registry.get("stage", name)
        with located(f"in stage {self.index + 1}, {name} {entry.where}"):
            # What a stage sets for the whole process is not for the next one, which may run elsewhere.
            with self._resuming(), in_module(trial.model), others_needed(), gpu_flags():
                stage.run(trial)
            check_layout(before, layout(trial.model))
        self._say_what_is_lost(name, describe_changes(aside, unkept(trial.model)))
        if not self.reported:
            # What the stage cost is seen right after it, not an epoch later.
            trial.report(evaluate(trial, "validation"))
        observers.tell("stage_ended", name=name, stage=stage)
        began = self.history.end
        self.history.ends.append(trial.epoch)
        tensors, snapshot = self.stored.save(trial, self.index, self.history)
        self._stage_ended(StageEnd(self.index, key, trial.epoch - began, executed=True, size=snapshot.size))
        # What comes next meets the same network whether this stage ran here or elsewhere: whatever of it is not kept
        # (attributes, hooks, gradients, modes) is as it was built.
        trial.model = self._build().to(self.device)
        restore(trial, tensors, snapshot.metadata, self.registry)
        self.index += 1

    def _stage_ended(self, end: StageEnd) -> None:
        now = time.monotonic()
        end = replace(end, seconds=now - self.since, device=_called(self.device))
        self.since = now
        self.locks.release(end.key)
        self.report(StagesEnded((end,)))  # at once: others may be waiting for it

    def _say_what_is_lost(self, name: str, changes: list[str]) -> None:
        if changes and not self.warned:
            self.warned = True
            self._note(
                f"in {name} the network has changed in what is not kept, and begins the next stage without it: "
                f"{'; '.join(changes[:3])}: parameters and buffers are kept"
            )

    def _recall(self, trial: Trial) -> Callable[[], Any]:
        splits, found = self.plan.splits_of(self.index), self.stored.load_within(trial, self.index)
        trial.lengths = tuple(split.length for split in splits)
        if found is None:
            return lambda: None
        (tensors, snapshot), split = found
        restore(trial, tensors, snapshot.metadata, self.registry)
        self._tell(trial, History.of(snapshot.metadata), self.index)
        if split is not None:
            trial.lengths = tuple(length for length in trial.lengths if length > split.length)
            epochs = trial.epoch - self.history.end
            self.report(StagesEnded((StageEnd(self.index, split.key, epochs, executed=False, whole=False),)))
            # It may be where the stage ends, which then has nothing to report.
            self.reported = next((last.metrics for last in trial.records[-1:] if last.stage == self.index), {})

        def recall() -> Any:
            self.resumed = snapshot
            return restore_progress(trial, tensors, snapshot.metadata["progress"])

        return recall

    @contextmanager
    def _resuming(self) -> Iterator[None]:
        """Set the checkpoint aside from which a stage could not go on: it begins when it is tried again."""
        try:
            yield
        except Exception as error:
            if self.resumed is not None and not rank():
                self._note(f"{self.store.set_aside(self.resumed, describe(error))}; it is computed again")
            raise


def _called(device: torch.device) -> str:
    return "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
