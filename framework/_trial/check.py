"""Check that a stored snapshot is one that `framework._trial.snapshot.capture` has made.

A file may match its checksum and still be something else, when another version or another program has written it.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from framework._component import Catalog, build
from framework._errors import describe
from framework._masks import Masks
from framework._reported import LAST_EPOCH, artifact_fault
from framework._stage import Trial
from framework._store import unpack
from framework._trial.snapshot import masks_in, model_state, part

_Epoch = Annotated[int, Field(ge=0, le=LAST_EPOCH)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    epoch: _Epoch
    stage: Annotated[int, Field(ge=0)]
    metrics: dict[str, float]
    time: float


class _Metadata(BaseModel):
    model_config = ConfigDict(strict=True)
    epoch: _Epoch
    loss: dict[str, Any] | None
    records: list[_Record]
    ends: list[_Epoch]


def check(
    trial: Trial,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    catalog: Catalog,
    *,
    ended: int,
    partial: bool,
) -> None:
    """Check a snapshot before a trial is restored from it, so that none is restored by half.

    Args:
        trial: of which this is a snapshot; its network is as it was built, or as a stage has left it.
        tensors: of the snapshot.
        metadata: of the snapshot.
        catalog: where the loss is looked up.
        ended: how many stages of the trial have ended.
        partial: whether it is a checkpoint within the next stage.

    Raises:
        ValueError: something about it is wrong; the text says what.
    """
    try:
        _check_metadata(metadata, ended)
        _check_network(trial, model_state(tensors))
        _check_masks(trial, tensors)
        loss = trial.loss if metadata["loss"] is None else build(catalog, "loss", metadata["loss"])()
        if loss.state_dict().keys() != part(tensors, "loss").keys():
            raise ValueError("it has the state of another loss")
        for name, content in part(tensors, "artifacts").items():
            if artifact_fault(name) or content.dtype != torch.uint8 or content.dim() != 1:
                raise ValueError(f"it has an artifact {name!r}, which is none")
        if partial:
            state = unpack(part(tensors, "progress"), metadata["progress"])
            torch.Generator().set_state(state["generators"][0])
            state["stage"]
    except Exception as error:  # whatever is wrong with it
        raise ValueError(f"it is no state of this trial: {describe(error)}") from error


def _check_metadata(metadata: Mapping[str, Any], ended: int) -> None:
    known = _Metadata.model_validate(dict(metadata))
    if len(known.ends) != ended or any(record.stage > ended for record in known.records):
        raise ValueError(f"{ended} stages have ended, and it tells of {len(known.ends)}")


def _check_network(trial: Trial, state: Mapping[str, Tensor]) -> None:
    expected = {name: _kind(value) for name, value in trial.model.state_dict().items()}
    found = {name: _kind(value) for name, value in state.items()}
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise ValueError(f"{name} is {found.get(name, 'missing')} instead of {expected.get(name, 'missing')}")


def _kind(value: Tensor) -> str:
    return f"{'real' if value.is_floating_point() or value.is_complex() else 'whole'} {tuple(value.shape)}"


def _check_masks(trial: Trial, tensors: Mapping[str, Tensor]) -> None:
    parameters = {name: value.shape for name, value in trial.model.named_parameters(remove_duplicate=False)}
    buffers = {name: value.shape for name, value in trial.model.named_buffers()}
    masks = masks_in(tensors)
    _check_shapes("masks", masks, parameters)
    _check_shapes("frozen", part(tensors, "frozen"), {**parameters, **buffers})
    for name, values in part(tensors, "before_pruning").items():
        if values.shape != masks[name].shape:
            raise ValueError(f"before_pruning: {name} has values of another shape than its mask")


def _check_shapes(what: str, found: Masks, shapes: Mapping[str, torch.Size]) -> None:
    for name, mask in found.items():
        if mask.dtype != torch.bool or mask.shape != shapes[name]:
            raise ValueError(f"{what}: {name} is no mask of its shape")
