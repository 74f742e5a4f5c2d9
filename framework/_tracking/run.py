"""What is known of the run of one trial."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from framework._measures import CLASSIFIED, Measures

if TYPE_CHECKING:
    import torch
    from mlflow.entities import Metric
    from torch import nn

    from framework._plan import TrialPlan
    from framework._stage import Record


@dataclass(frozen=True)
class RunArtifacts:
    """What a trial's run keeps besides what was reported.

    Attributes:
        files: by path.
        metrics: by name; logged at the trial's last epoch.
        note: makes what the run says of itself, Markdown, given whether its network could be exported.
        model: the trained network; nobody else uses it.
        shape: of the network's input, such as (channels, height, width); needed with a model.
        dtype: of the network's input; None: float32.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    note: Callable[[bool], str] = lambda exported: ""
    model: "nn.Module | None" = None
    shape: Sequence[int] = ()
    dtype: "torch.dtype | None" = None


@dataclass
class OpenRun:
    """The run of a trial that goes on.

    Attributes:
        parent: the run of this invocation.
        spec: the trial as YAML.
        notes: what is kept as parameters besides the plan.
        measures: by what the trial is measured.
        follows: another invocation writes this run; what comes is only gathered, in case that one does not finish.
        artifact_uri: where its files go.
        is_new: this invocation has made it.
        looked: when it was last looked whether that one still does, on the monotonic clock.
        logged: how many of the trial's records the run has.
        seen: how many have come; after a restart they come again.
        epoch: of the last one.
        stamp: time of the last record, milliseconds since 1970.
        pending: records that are still to be written.
        unsent: what there is to write of them, in batches; the same ones if it is written again.
        artifacts: what the run keeps besides, once its trial has ended.
        exported: the run keeps the network, not only its weights.
    """

    plan: "TrialPlan"
    run_id: str
    experiment_id: str
    started: float
    parent: str = ""
    spec: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    measures: Measures = CLASSIFIED
    artifact_uri: str = ""
    is_new: bool = False
    follows: bool = False
    looked: float = 0.0
    logged: int = 0
    seen: int = 0
    epoch: int = 0
    stamp: int = 0
    pending: "list[Record]" = field(default_factory=list)
    unsent: "list[list[Metric]]" = field(default_factory=list)
    artifacts: RunArtifacts = field(default_factory=RunArtifacts)
    exported: bool = False

    def drop(self) -> None:
        """Leave it at what is written."""
        self.artifacts = RunArtifacts()
        self.pending.clear()
        self.unsent.clear()

    def rewind(self) -> None:
        """Take records from the trial's start on again."""
        self.logged, self.seen = max(self.logged, self.seen), 0
        self.pending.clear()  # empty, unless it follows
