"""Run stages on the real trial runner, each time with a store of its own."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn, optim

from framework._component import Entry, Loss, Optimizer
from framework._data import Data
from framework._engine import Training
from framework._plan import Split, TrialPlan
from framework._stage import Stage, Trial
from framework._store import Snapshot, Store
from framework._task import Task
from framework._trial import run_trial
from framework.testing._assertions import difference, seeded
from framework.testing._tiny import TestRegistry

_PARTS = ("masks", "frozen", "before_pruning")
# Key by key: the network, and what is there after the first, the second and the third stage.
_KEYS = tuple(f"{2 * i + 2:016x}" * 2 for i in range(4))


class State(NamedTuple):
    """The stored state of a trial after one of its stages: tensors by name, and metadata."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]

    def part(self, part: str) -> dict[str, Tensor]:
        """Select the tensors of one part, such as ``model`` or ``masks``, by their names there."""
        return {n.removeprefix(f"{part}."): t for n, t in self.tensors.items() if n.startswith(f"{part}.")}

    def differs(self, other: "State") -> str:
        """Say how another state differs, in a few words; empty if it does not."""
        diff = difference(self.tensors, other.tensors)
        pairs = ((name, self.metadata[name], other.metadata[name]) for name in self.metadata)
        return diff or next((f"{name}: {a} and then {b}" for name, a, b in pairs if repr(a) != repr(b)), "")


@dataclass(frozen=True, kw_only=True)
class Fit(Training):
    """Train for three short epochs, with checkpoints between them."""

    epochs: int | None = 3
    batch_size: int = 12
    loss: Loss | None = None
    optimizer: Optimizer = "(sgd)"

    def use_loss(self, trial: Trial) -> None:
        if self.loss is not None:
            super().use_loss(trial)

    def run(self, trial: Trial) -> None:
        names = [name for name, _ in trial.model.named_parameters()]
        if any(name not in trial.frozen or not bool(trial.frozen[name].all()) for name in names):
            super().run(trial)


@dataclass(frozen=True)
class _Start(Stage):
    """Put the runner's trial into the state of another."""

    trial: Trial

    def run(self, trial: Trial) -> None:
        trial.model.load_state_dict(self.trial.model.state_dict())
        for name in (*_PARTS, "loss", "loss_recipe"):
            setattr(trial, name, deepcopy(getattr(self.trial, name)))
        trial.epoch += self.trial.epoch


def _sgd(params: Sequence[Tensor]) -> optim.Optimizer:
    return optim.SGD(params, lr=0.1, momentum=0.9)


# Under names that no component under test can have.
OWN = (Entry("stage", "(fit)", Fit, "framework.testing"), Entry("optimizer", "(sgd)", _sgd, "framework.testing"))
START: Mapping[str, Any] = {"name": "(start)"}
FIT: Mapping[str, Any] = {"name": "(fit)"}


class Interrupted(BaseException):
    """Stands for a crash, which no stage catches by mistake."""


class _Crashing(Store):
    """A store that counts checkpoints, and crashes right after one of them."""

    def __init__(self, uri: str, crash_after: int) -> None:
        super().__init__(uri)
        self.crash_after, self.checkpoints = crash_after, 0

    def save(
        self, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, partial: bool = False
    ) -> Snapshot:
        snapshot = super().save(key, tensors, metadata, partial=partial)
        self.checkpoints += partial
        if partial and self.checkpoints == self.crash_after:
            raise Interrupted
        return snapshot


class _Given:
    """A source of data that are there already."""

    def __init__(self, data: Data, task: Task) -> None:
        self.data, self.task, self.shape, self.dtype = data, task, data.shape, data.dtype
        self.notes: Mapping[str, Any] = {}

    def open(self, device: torch.device, augment: tuple[str, ...]) -> Data:
        return self.data


class StageHarness:
    """Runs stages on the real trial runner, each time with a store in a folder of its own.

    Args:
        stages: the stages, as plain data; `START` makes the runner's trial what the given one is.
        trial: has the network and the data, and is left alone.
        folder: where the folders are.
        entries: the components that are not installed.
        observers: plugins that observe.
    """

    def __init__(
        self,
        stages: tuple[Mapping[str, Any], ...],
        trial: Trial,
        folder: str,
        *entries: Entry,
        observers: Sequence[object] = (),
    ) -> None:
        self.stages, self.trial, self.folder = stages, deepcopy(trial), folder
        given = Entry("model", "(given)", self._model, "framework.testing")
        start = Entry("stage", "(start)", lambda: _Start(self.trial), "framework.testing")
        self.registry = TestRegistry(*entries, *OWN, given, start, observers=observers)

    def run(self, name: str, count: int, crash_after: int = 0, splits: tuple[Split, ...] = ()) -> int:
        """Run so many stages, or go on to that many, in the folder of that name.

        Args:
            name: of the folder.
            count: how many stages.
            crash_after: how many checkpoints; 0: not at all.
            splits: of the last stage.

        Returns:
            How many checkpoints there were.
        """
        plan = TrialPlan(
            experiment="framework.testing",
            swept={},
            seed=0,
            model={"name": "(given)"},
            data={"augment": []},
            stages=self.stages[:count],
            resources={"cpu": 1, "gpu": 0},
            keys=_KEYS[: count + 1],
            stage_epochs=(0,) * count,
            threads=(1,) * count,
            splits=(*[()] * (count - 1), splits),
        )
        store = _Crashing(f"{self.folder}/{name}", crash_after)
        threads = torch.get_num_threads()
        try:
            with seeded():
                source = _Given(self.trial.data, self.trial.task)
                run_trial(plan, self.registry, source, store, lambda report: None, checkpoint_seconds=0)
        finally:
            torch.set_num_threads(threads)  # the runner takes as many as the plan says
        return store.checkpoints

    def forget(self, name: str, count: int) -> None:
        """Drop the state after so many stages from the folder of that name; those within a stage stay."""
        Store(f"{self.folder}/{name}").discard(_KEYS[count])

    def state(self, name: str, count: int) -> State:
        """Load the state after so many stages from the folder of that name."""
        tensors, snapshot = Store(f"{self.folder}/{name}").load(_KEYS[count])
        records = [
            (record["epoch"], record["stage"], {k: v for k, v in record["metrics"].items() if "second" not in k})
            for record in snapshot.metadata["records"]
        ]
        artifacts = [name for name in tensors if name.startswith("artifacts.")]  # figures may hold the time of day
        metadata = {"epoch": snapshot.metadata["epoch"], "loss": snapshot.metadata["loss"], "records": records}
        rest = {name: tensor for name, tensor in tensors.items() if name not in artifacts}
        return State(rest, {**metadata, "artifacts": sorted(artifacts)})

    def _model(self) -> nn.Module:
        model = deepcopy(self.trial.model)
        if initial := self.trial.initial_state():
            model.load_state_dict(initial)
        return model
