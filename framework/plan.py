"""From a spec to the trials that it means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
        resources: ``cpu`` and ``gpu`` that the trial takes; ``gpu`` may be ``auto``.
        keys: the stage key of every stage, hex; the last one is the trial's.
        epochs: how many epochs its stages train, as far as known beforehand.
    """

    experiment: str
    swept: Mapping[str, Any]
    seed: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...]
    resources: Mapping[str, Any]
    keys: tuple[str, ...]
    epochs: int

    @property
    def key(self) -> str:
        """What identifies the trial's result."""
        return self.keys[-1]

    @property
    def variant(self) -> str:
        """The swept values, readable: ``prune.amount=0.2``; empty without a search space."""
        return " ".join(f"{name}={short(value)}" for name, value in self.swept.items())

    @property
    def name(self) -> str:
        """The variant and the seed: ``prune.amount=0.2 seed=1``."""
        return f"{self.variant} seed={self.seed}".strip()


def short(value: Any) -> str:
    """A swept value in as few words as tell it apart: a component as ``name(parameter=value)``."""
    if isinstance(value, Mapping):
        given = ", ".join(f"{k}={short(v)}" for k, v in value.items() if k != "name")
        name = value.get("name", "")
        return f"{name}({given})" if given else str(name)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(short, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
