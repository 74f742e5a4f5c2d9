"""Turn a trial's state into tensors and plain data that the store takes, and back."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from framework._component import Catalog, build
from framework._errors import StageError
from framework._masks import Masks
from framework._stage import Record, Trial
from framework._store import pack, unpack

_MASKS = ("masks", "frozen")


@dataclass
class History:
    """A trial's records and stage ends so far.

    Attributes:
        records: all that was reported, by stages that are done and by the one that runs.
        ends: the epoch at the end of each stage that is done.
    """

    records: list[Record]
    ends: list[int]

    @property
    def end(self) -> int:
        """The epoch at the end of the last stage that is done, which is where the next one begins."""
        return self.ends[-1] if self.ends else 0

    def plain(self) -> dict[str, Any]:
        """Return itself as JSON-able data."""
        return {"records": [asdict(record) for record in self.records], "ends": self.ends}

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "History":
        """Read what `plain` gave."""
        return cls([Record(**record) for record in metadata["records"]], list(metadata["ends"]))


def capture(trial: Trial) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a trial's state, on the CPU: tensors by name, and plain data for the rest.

    Raises:
        StageError: its loss could not be made again.
    """
    if trial.loss_recipe is None and type(trial.loss) is not type(trial.task.loss()):
        raise StageError(f"a stage has set trial.loss to a {type(trial.loss).__name__}: call trial.use_loss instead")
    tensors = network_state(trial.model)
    tensors |= {f"{part}.{name}": mask for part in _MASKS for name, mask in getattr(trial, part).items()}
    # Only what is pruned has a value to be kept; the store leaves the zeros of all else out.
    tensors |= {
        f"before_pruning.{name}": value.masked_fill(trial.masks[name], 0.0)
        for name, value in trial.before_pruning.items()
        if name in trial.masks
    }
    tensors |= {f"loss.{name}": tensor for name, tensor in trial.loss.state_dict().items()}
    tensors |= {
        f"artifacts.{name}": torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        for name, content in trial.artifacts.items()
    }
    return _on_cpu(tensors), {"epoch": trial.epoch, "loss": trial.loss_recipe}


def restore(trial: Trial, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], catalog: Catalog) -> None:
    """Put a trial whose network is built into the state that `capture` gave."""
    restore_network(trial.model, tensors)
    for name in (*_MASKS, "before_pruning"):
        setattr(trial, name, {k: tensor.to(trial.device) for k, tensor in part(tensors, name).items()})
    if metadata["loss"] is not None:
        trial.use_loss(build(catalog, "loss", metadata["loss"]))
    fill(trial.loss, part(tensors, "loss"))
    trial.artifacts.clear()  # whoever runs the trial holds it
    trial.artifacts.update({name: tensor.numpy().tobytes() for name, tensor in part(tensors, "artifacts").items()})
    trial.epoch = metadata["epoch"]


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict that a module of the same code gave.

    Torch keeps a version of each module beside the tensors of a state dict, and the store does not. Some modules refuse
    a state without a version, or take it for an older one, so this gives it the versions that the module has now.
    """
    versioned = OrderedDict(state)
    versioned._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(versioned)


def network_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a network's state dict and the buffers that it leaves out (``persistent=False``): training changes both.

    Names are those in a snapshot, which begin with ``model.`` or ``buffers.``.
    """
    state = model.state_dict()
    loose = {name: buffer for name, buffer in model.named_buffers() if name not in state}
    parts = {"model": state, "buffers": loose}
    return {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}


def restore_network(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a network that has been built anew into the state that `network_state` gave."""
    fill(model, model_state(tensors))
    for name, parameter in model.named_parameters():
        # `load_state_dict` keeps the layout of the network that it fills; convolutions compute by it.
        parameter.data = tensors[f"model.{name}"].to(parameter.device)
    device = next(model.parameters()).device
    own = dict(model.named_buffers())
    for name, buffer in part(tensors, "buffers").items():
        if name in own and (own[name].shape, own[name].dtype) == (buffer.shape, buffer.dtype):
            if not torch.equal(own[name].cpu(), buffer):
                own[name].copy_(buffer)  # it may be the same tensor under several names
            continue
        parent, _, leaf = name.rpartition(".")
        model.get_submodule(parent).register_buffer(leaf, buffer.to(device), persistent=False)


def capture_progress(trial: Trial, progress: Any) -> tuple[dict[str, Tensor], Any]:
    """Take what a stage needs to go on from a checkpoint, and the state of torch's generators, like `capture`."""
    generators = [torch.get_rng_state()]
    if trial.device.type == "cuda":
        generators.append(torch.cuda.get_rng_state(trial.device))
    tensors, plain = pack({"stage": progress, "generators": generators})
    return {f"progress.{name}": tensor for name, tensor in _on_cpu(tensors).items()}, plain


def restore_progress(trial: Trial, tensors: Mapping[str, Tensor], plain: Any) -> Any:
    """Set torch's generators, and return the stage's own progress."""
    state = unpack(part(tensors, "progress"), plain)
    torch.set_rng_state(state["generators"][0])
    if trial.device.type == "cuda" and len(state["generators"]) > 1:
        torch.cuda.set_rng_state(state["generators"][1], trial.device)
    return state["stage"]


def model_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the network in a snapshot."""
    return part(tensors, "model")


def masks_in(tensors: Mapping[str, Tensor]) -> Masks:
    """Return the masks of pruning in a snapshot, by parameter name; empty if nothing is pruned."""
    return part(tensors, _MASKS[0])


def part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a snapshot, such as ``loss``, by their names in it."""
    return {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}
