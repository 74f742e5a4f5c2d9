"""How trials are to be run: what the library and the command line take, in one place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from framework._paths import RESULTS, stages_in
from framework._tracking import default_uri


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run.

    Attributes:
        root: where results lie.
        tracking_uri: the MLflow store; None: where the environment says, else a database in ``root``.
        store: where the results of stages are kept; None: in ``root``.
        executor: ``ray``, or ``inline`` in this process.
        address: of a running Ray cluster; None: Ray on this machine.
        max_concurrent: how many trials run at once; None: as many as fit.
        store_limit: how many bytes of stages' results to keep; None: all.
        checkpoint_minutes: the longest time between two checkpoints within a stage.
        force: run finished trials again, from the start.
        verbose: show what libraries log.
        command: what the user typed, for the record.
    """

    root: Path = RESULTS
    tracking_uri: str | None = None
    store: str | None = None
    executor: Literal["ray", "inline"] = "ray"
    address: str | None = None
    max_concurrent: int | None = None
    store_limit: int | None = None
    checkpoint_minutes: float = 5.0
    force: bool = False
    verbose: bool = False
    command: str = ""

    @property
    def mlflow_uri(self) -> str:
        """The MLflow store that is used."""
        return self.tracking_uri or default_uri(self.root)

    @property
    def store_uri(self) -> str:
        """The stage store that is used."""
        return stages_in(self.root, self.store)
