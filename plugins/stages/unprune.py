"""Let pruned weights learn again."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from framework import Interval, Stage, StageError, Trial


@dataclass(frozen=True)
class Unprune(Stage):
    """Drop the masks, of all pruned weights or of some drawn at random; what is frozen stays pruned.

    Attributes:
        fraction: which part of the pruned weights that are not frozen regrows, exactly round(fraction × pruned).
        start: the value that a regrown weight starts from: ``zero`` (what torch's ``prune.remove`` leaves), its value
            ``before`` pruning, its value at the trial's ``initial`` state, or ``random`` (Kaiming-uniform, as torch
            initialises new layers).
        layers: patterns of names, such as ``layer4.*``; all by default.

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

    def run(self, trial: Trial) -> None:
        weights, generator = trial.weights(), trial.generator()
        pruned = {
            name: ~trial.masks[name] & free
            for name, free in trial.candidates(self.layers).items()
            if name in trial.masks
        }
        flat = torch.cat([part.reshape(-1).cpu() for part in pruned.values()] or [torch.empty(0).bool()])
        if not bool(flat.any()):
            raise StageError("there is nothing to unprune: no weight is masked here that is not frozen (prune first)")
        positions = flat.nonzero().squeeze(1)
        count = round(self.fraction * len(positions))
        regrown = torch.zeros_like(flat)
        regrown[positions[torch.randperm(len(positions), generator=generator)[:count]]] = True
        initial = trial.initial_state() if self.start == "initial" else {}
        masks = {}
        sizes = [part.numel() for part in pruned.values()]
        for name, chosen in zip(pruned, regrown.split(sizes), strict=True):
            weight, regrow = weights[name].detach(), chosen.view(weights[name].shape).to(trial.device)
            if self.start == "before":
                weight[regrow] = trial.before_pruning[name][regrow]
            elif self.start == "initial":
                weight[regrow] = initial[name].to(weight)[regrow]
            elif self.start == "random":
                bound = weight[0].numel() ** -0.5
                drawn = torch.rand(weight.shape, generator=generator) * 2 * bound - bound
                weight[regrow] = drawn.to(weight)[regrow]
            masks[name] = trial.masks[name] | regrow
        trial.set_masks(masks)
