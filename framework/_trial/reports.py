"""What a trial reports while it runs."""

from dataclasses import dataclass
from typing import TypeAlias

from framework._stage import Record


@dataclass(frozen=True)
class Recorded:
    """Metrics at one epoch or at one stage's end, whether just measured or out of the store."""

    record: Record


@dataclass(frozen=True)
class Noted:
    """What the user should know besides, such as a replaced head."""

    text: str


@dataclass(frozen=True)
class StageEnd:
    """A stage's result is there, or the state at one of its splits.

    Attributes:
        stage: index of the stage in the trial's plan.
        key: the stage key, or the split's.
        epochs: by how many epochs the stage has advanced the epoch axis since its beginning.
        executed: the trial ran the stage itself; else it found the result in the store.
        size: bytes of the snapshot that it left; 0 if it found one.
        seconds: from the stage's start, or from the split before, until its result was stored; 0 if it was found.
        device: on which the stage ran, ``CPU`` or the name of a GPU; empty if its result was found.
        whole: it is the stage's end; else one of its splits.
    """

    stage: int
    key: str
    epochs: int
    executed: bool
    size: int = 0
    seconds: float = 0.0
    device: str = ""
    whole: bool = True


@dataclass(frozen=True)
class StagesEnded:
    """A stage has been run, and others may go on from its result; or stages have been found in the store."""

    ends: tuple[StageEnd, ...]


Report: TypeAlias = Recorded | Noted | StagesEnded
