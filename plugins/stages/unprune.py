"""Let pruned weights learn again."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from framework import Interval, Stage, StageError, Trial
from framework_plugins.stages.granularity import NOTHING_PRUNED, Granularity, check_filters, pruned_elements, set_masks


@dataclass(frozen=True)
class Unprune(Stage):
    """Drop the masks, of all pruned weights or of some drawn at random; what is frozen stays pruned.

    Attributes:
        fraction: which part of the pruned weights that are not frozen regrows, exactly round(fraction × pruned).
        start: the value that a regrown weight starts from: ``zero`` (what torch's ``prune.remove`` leaves), its value
            ``before`` pruning, its value at the trial's ``initial`` state, or ``random`` (Kaiming-uniform, as torch
            initialises new layers, with biases at 0 and normalisation at 1). A filter cannot start from zero: it would
            get no gradient.
        layers: patterns of names, such as ``layer4.*``; all by default.
        granularity: single ``weights``, or whole ``filters`` if these were pruned, with all that belongs to them.

    Example:
        stages:
          - prune: {amount: 0.5}
          - train: {epochs: 5}
          - unprune: {fraction: 0.5, start: before}
          - train: {epochs: 5}
    """

    fraction: Annotated[float, Interval(gt=0, le=1)] = 1.0
    start: Literal["zero", "before", "initial", "random"] = "zero"
    layers: tuple[str, ...] | None = None
    granularity: Granularity = "weights"

    def __post_init__(self) -> None:
        check_filters(self.granularity)
        if self.granularity == "filters" and self.start == "zero":
            raise ValueError("a filter that starts from zero gets no gradient: give start: before, initial or random")

    def run(self, trial: Trial) -> None:
        elements, generator = pruned_elements(trial, self.granularity), trial.generator()
        free = elements.candidates(self.layers)
        masks = elements.masks(free)
        pruned = {name: ~mask & free[name] for name, mask in masks.items() if not mask.all()}
        flat = torch.cat([part.reshape(-1).cpu() for part in pruned.values()] or [torch.empty(0).bool()])
        if not bool(flat.any()):
            raise StageError(f"there is nothing to unprune: {NOTHING_PRUNED[self.granularity]}")
        positions = flat.nonzero().squeeze(1)
        count = round(self.fraction * len(positions))
        regrown = torch.zeros_like(flat)
        regrown[positions[torch.randperm(len(positions), generator=generator)[:count]]] = True
        parts = regrown.split([part.numel() for part in pruned.values()])
        chosen = {name: part.view(masks[name].shape) for name, part in zip(pruned, parts, strict=True)}
        regrow = {name: masks[name] | part.to(masks[name].device) for name, part in chosen.items()}
        opened = set_masks(trial, elements, regrow)
        initial = trial.initial_state() if self.start == "initial" else {}
        for name, (places, before) in opened.items():
            parameter = trial.model.get_parameter(name).detach()
            if self.start == "before":
                parameter[places] = before[places]
            elif self.start == "initial":
                parameter[places] = initial[name].to(parameter)[places]
            elif self.start == "random":
                parameter[places] = _drawn(name, parameter, generator).to(parameter)[places]


def _drawn(name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Values as of a new layer."""
    if parameter.dim() < 2:
        return torch.full(parameter.shape, 0.0 if name.endswith("bias") else 1.0)
    bound = parameter[0].numel() ** -0.5
    return torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
