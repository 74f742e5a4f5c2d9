"""What a trial's run keeps besides what was reported: its network, files and notes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from framework._errors import first_line
from framework._executors.listener import Outcome
from framework._plan import TrialPlan
from framework._registry import Registry
from framework._report.anatomy import anatomy
from framework._stage import Record
from framework._store import Store
from framework._tracking import MASKS, Extras, encode_masks
from framework._trial import Arrays, build_model, masks_in, restore_network


@dataclass(frozen=True)
class Ended:
    """A trial that has ended.

    Attributes:
        plan: the trial.
        outcome: how it ended.
        records: all that it reported.
        arrays: its data; None if it could not be loaded.
        figures: waits for its figures, and gives them as files.
    """

    plan: TrialPlan
    outcome: Outcome
    records: Sequence[Record]
    arrays: Arrays | None
    figures: Callable[[], Mapping[str, bytes]]

    @property
    def complete(self) -> bool:
        """Whether it came to its end."""
        return self.outcome.error is None and self.outcome.stopped is None


def make_extras(trial: Ended, registry: Registry, store: Store, run_id: str, noted: Callable[[str], None]) -> Extras:
    """What the run keeps, made on the tracking's thread.

    Args:
        trial: has ended.
        registry: where its components are looked up.
        store: has its final state.
        run_id: of its run.
        noted: is told what its network could not be asked.

    Raises:
        StoreError: the final state is not there any more.
    """
    files = {**trial.outcome.files, **trial.figures()}
    if trial.outcome.traceback is not None:
        files["traceback.txt"] = trial.outcome.traceback.encode(errors="backslashreplace")
    if not trial.complete:
        return Extras(files)
    assert trial.arrays is not None  # else it could not have come to its end
    tensors, _ = store.load(trial.plan.key)
    if masks := masks_in(tensors):
        files[MASKS] = encode_masks(masks)
    shape = trial.arrays.splits["train"][0].shape[1:]
    named = f"{trial.plan.experiment} {trial.plan.name}"
    # What a plugin's network can raise here says nothing of the trial, which has come to its end.
    try:
        model = _network(trial.plan, trial.arrays, registry, tensors)
    except Exception as error:
        noted(f"{named}: its network cannot be built again, so its run does not keep it: {first_line(error)}")
        return Extras(files)
    try:
        metrics = anatomy(model, shape)
    except Exception as error:
        noted(f"{named}: what its network consists of cannot be said: {first_line(error)}")
        return Extras(files, model=model, shape=shape)
    if "model/flops" not in metrics:
        noted(f"{named}: its FLOPs cannot be counted: the network fails where they are")
    return Extras(files, metrics=metrics, model=model, shape=shape)


def _network(plan: TrialPlan, arrays: Arrays, registry: Registry, tensors: Mapping[str, Tensor]) -> nn.Module:
    network = build_model(plan, registry, arrays)
    restore_network(network, tensors)
    return network
