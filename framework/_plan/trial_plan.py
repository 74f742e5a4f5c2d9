"""One trial as it is planned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from framework._code import NO_CODE, Code
from framework._plan.names import short
from framework._spec import INITIAL


@dataclass(frozen=True, slots=True)
class Length:
    """How long a stage runs whose course does not depend on that; see `Stage.planned_length`.

    Attributes:
        course: hex; stands for all that determines the states that the stage passes through.
        unit: the parameter that says how long it runs, such as ``epochs``.
        value: of that parameter.
        last: no later stage of the trial trains.
    """

    course: str
    unit: str
    value: int
    last: bool


@dataclass(frozen=True, slots=True)
class Split:
    """A state within a stage that trials have in common whose stages differ in length only.

    Attributes:
        key: hex; identifies the state, as stage keys do those after stages.
        unit: of the length; see `Length`.
        length: how long the stage has run by then.
        epochs: how many epochs it has trained by then, as far as known beforehand.
    """

    key: str
    unit: str
    length: int
    epochs: int


@dataclass(frozen=True)
class TrialPlan:
    """One trial: everything that determines it, as plain data that any process can rebuild it from.

    Attributes:
        experiment: the spec's name.
        swept: the search space's values at this point, by short name: ``{"prune.amount": 0.2}``.
        seed: distinguishes the replicates of a variant.
        model: the resolved model: its name and every parameter.
        data: the resolved dataset likewise, under ``dataset``, and the options ``validation`` and ``augment``.
        stages: the resolved stages, each its name and every parameter.
        metrics: the resolved metrics likewise, by what they are called, the primary one first; empty: the task's own.
        resources: ``cpu`` and ``gpu`` that the trial takes (either may be ``auto``), the ``threads`` of its stages
            (``auto`` or a list, whose last number counts for all stages that follow), its ``timeout`` in seconds or
            None, and how many ``retries`` it has.
        keys: hex; of the initial network, then the stage key of every stage; the last one is the trial's.
        stage_epochs: how many epochs each stage trains, as far as known beforehand.
        labels: of each stage, None without one.
        went_back: of each stage, after how many stages there are the states that it goes back to.
        plugins: the distributions that it uses, with their versions, sorted.
        origins: of each of them what stands for its code in the keys.
        code: the files of code that its spec names, with what is in them.
        threads: how many each stage uses on the CPU; empty until the trial is about to run, see `Shares.settle`.
        lengths: of each stage, None where its course depends on its length.
        splits: of each stage, those up to its own length, the shortest first; see `SplitStages`.
    """

    experiment: str
    swept: Mapping[str, Any]
    seed: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...]
    resources: Mapping[str, Any]
    keys: tuple[str, ...]
    stage_epochs: tuple[int, ...]
    labels: tuple[str | None, ...] = ()
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    went_back: tuple[tuple[int, ...], ...] = ()
    plugins: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    code: Code = NO_CODE
    threads: tuple[int, ...] = ()
    lengths: tuple[Length | None, ...] = ()
    splits: tuple[tuple[Split, ...], ...] = ()

    @property
    def key(self) -> str:
        """What identifies the trial's result."""
        return self.keys[-1]

    @property
    def identity(self) -> tuple[str, str]:
        """Its experiment and its key: experiments may have trials in common, and keep a run of each."""
        return self.experiment, self.key

    def stages_until(self, label: str, index: int) -> int:
        """After how many stages there is the state that the stage at this index calls so; see `stages_until`."""
        return stages_until(label, self.labels[:index])

    def splits_of(self, index: int) -> tuple[Split, ...]:
        """The splits of the stage at this index."""
        return self.splits[index] if self.splits else ()

    @property
    def path(self) -> tuple[str, ...]:
        """The keys of all states on the way from the initial network, which is left out: within stages and after."""
        return tuple(key for key, _, _ in self.parts) if self.splits else self.keys[1:]

    @property
    def parts(self) -> Iterator[tuple[str, int, int]]:
        """What leads to each state of its path: the state's key, the index of the stage, and its epochs until there."""
        for index, key in enumerate(self.keys[1:]):
            done = 0
            for split in self.splits_of(index):
                yield split.key, index, split.epochs - done
                done = split.epochs
            yield key, index, self.stage_epochs[index] - done

    def went_back_to(self, passed: int) -> list[str]:
        """The keys of the states that stages go back to, as long as so many states of its path are there."""
        done = len({*self.path[:passed]} & {*self.keys[1:]})
        return [self.keys[count] for counts in self.went_back[done:] for count in counts if 0 < count <= done]

    def until(self, count: int) -> "TrialPlan":
        """The trial up to the state after so many stages."""
        return replace(
            self,
            stages=self.stages[:count],
            keys=self.keys[: count + 1],
            stage_epochs=self.stage_epochs[:count],
            labels=self.labels[:count],
            lengths=self.lengths[:count],
            splits=self.splits[:count],
            threads=self.threads[:count],
        )

    @property
    def epochs(self) -> int:
        """How many epochs its stages train together."""
        return sum(self.stage_epochs)

    @property
    def variant(self) -> str:
        """The swept values, readable: ``prune.amount=0.2``; empty without a search space."""
        return " ".join(f"{name}={short(value)}" for name, value in self.swept.items())

    @property
    def name(self) -> str:
        """The variant and the seed: ``prune.amount=0.2 seed=1``."""
        return f"{self.variant} seed={self.seed}".strip()


def stages_until(label: str, labels: Sequence[str | None]) -> int:
    """After how many stages there is the state of that label.

    Args:
        label: ``initial``, or that of a stage.
        labels: of the stages before the one that asks; the last one of several counts.

    Raises:
        ValueError: none of them has it.
    """
    if label == INITIAL:
        return 0
    return max(index + 1 for index, one in enumerate(labels) if one == label)
