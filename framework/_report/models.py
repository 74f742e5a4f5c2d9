"""A trial's network with its masks, checked against what was recorded."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from framework._errors import DataError, nearest
from framework._masks import layer_name
from framework._tracking import MASKS, Reader, TrialRun, decode_masks, load_model, valid_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from framework._masks import Masks

_COUNTED = "sparsity/"


class Loaded(NamedTuple):
    """A trial's network at its end.

    Attributes:
        model: of normalised images, float32 (N, channels, height, width), gives outputs (N, classes); it evaluates and
            cannot be trained.
        masks: by parameter name a bool tensor of its shape, True = may be non-zero; empty if nothing is pruned.
    """

    model: "nn.Module"
    masks: "Masks"


def load_checked(reader: Reader, trial: TrialRun) -> Loaded:
    """The network and the masks of a trial, if they are as sparse as recorded.

    Raises:
        DataError: the run has no network, or it is not the recorded one; says in which layer.
        TrackingError: the tracking store cannot be reached.
    """
    model = load_model(f"runs:/{trial.run_id}/model", reader.uri)
    masks = load_masks(reader, trial)
    state = model.state_dict()
    check_state(trial, state, masks)
    return Loaded(model, {name: masks[name] for name in state if name in masks})


def load_masks(reader: Reader, trial: TrialRun) -> "Masks":
    """What a trial's network held at its end; empty if nothing.

    Raises:
        DataError: they are damaged.
        TrackingError: the tracking store cannot be reached.
    """
    content = reader.file(trial.run_id, MASKS)
    return {} if content is None else decode_masks(content)


def check_state(trial: TrialRun, state: "Mapping[str, Tensor]", masks: "Masks") -> None:
    """Check that weights are those of a trial's network, by its masks and by the recorded sparsity.

    Raises:
        DataError: they are not; says in which layer.
    """
    _check_sparsity(trial, state)
    for name, mask in masks.items():
        if name not in state or state[name].shape != mask.shape:
            raise DataError(f"{_called(trial)}: there is a mask for {name!r}, but no such weight in the network")
        if state[name][~mask].any():
            raise DataError(f"{_called(trial)}: {name!r} has weights that are not zero where its mask says so")


def _check_sparsity(trial: TrialRun, state: "Mapping[str, Tensor]") -> None:
    """Each layer's share of exact zeros must be the last one that was recorded."""
    recorded = {name: value for name, value in trial.metrics.items() if name.startswith(_COUNTED)}
    if not trial.metrics:  # of a network without weights to count there is no sparsity, but its accuracy
        raise DataError(f"{_called(trial)}: nothing was recorded, so there is nothing to check against")
    # The names as MLflow has them.
    weights = {valid_name(_COUNTED + layer_name(name)): tensor for name, tensor in state.items()}
    for name, share in recorded.items():
        layer = name.removeprefix(_COUNTED)
        if name not in weights:
            raise DataError(f"{_called(trial)}: the network has no layer {layer!r}, though its sparsity was recorded")
        weight = weights[name]
        zeros = int((weight == 0).sum())
        if zeros != round(share * weight.numel()):
            raise DataError(
                f"{_called(trial)}: {zeros / weight.numel():.4%} of {layer!r} are zero, but {share:.4%} were recorded: "
                "this is not the network that the run tells of"
            )


def find_trial(trials: Sequence[TrialRun], rows: Sequence[Mapping[str, Any]], wanted: Any) -> TrialRun:
    """The one trial that is meant.

    Args:
        trials: to choose from.
        rows: what each has in the columns of a frame.
        wanted: the id of its run, its row, or values of columns that only it has.

    Raises:
        DataError: there is none, or there are several; says which.
    """
    if isinstance(wanted, str):
        wanted = {"run_id": wanted}
    given = dict(wanted)
    if "run_id" in given:  # a row of the frame, whose other columns may be NaN
        given = {"run_id": given["run_id"]}
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in given:
        if name not in columns:
            raise DataError(f"there is no column {name!r} to choose a trial by ({nearest(name, columns)})")
    found = [
        trial
        for trial, row in zip(trials, rows, strict=True)
        if all(name in row and row[name] == value for name, value in given.items())
    ]
    if len(found) == 1:
        return found[0]
    asked = ", ".join(f"{name}={value}" for name, value in given.items()) or "nothing"
    if not found:
        raise DataError(f"there is no trial with {asked}")
    which = ", ".join(_called(trial) for trial in found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
    raise DataError(f"{len(found)} trials have {asked}: say which of {which}")


_SHOWN = 5


def _called(trial: TrialRun) -> str:
    return f"{trial.experiment} {trial.name}"
