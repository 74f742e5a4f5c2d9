"""Let pruned weights learn again."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from framework import Interval, Stage, StageError, Trial, select


@dataclass(frozen=True)
class Unprune(Stage):
    """Drop the masks, of all pruned weights or of some drawn at random.

    Attributes:
        fraction: which part of the pruned weights regrows, exactly round(fraction × pruned).
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
        chosen = [name for name in select(list(weights), self.layers) if name in trial.masks]
        pruned = torch.cat([~trial.masks[name].reshape(-1).cpu() for name in chosen] or [torch.empty(0).bool()])
        if not bool(pruned.any()):
            raise StageError("there is nothing to unprune: no weight is masked here (prune first)")
        positions = pruned.nonzero().squeeze(1)
        count = round(self.fraction * len(positions))
        regrown = torch.zeros_like(pruned)
        regrown[positions[torch.randperm(len(positions), generator=generator)[:count]]] = True
        initial = trial.initial_state() if self.start == "initial" else {}
        sizes = [weights[name].numel() for name in chosen]
        for name, flat in zip(chosen, regrown.split(sizes), strict=True):
            weight, regrow = weights[name].detach(), flat.view(weights[name].shape).to(trial.device)
            if self.start == "before":
                weight[regrow] = trial.before_pruning[name][regrow]
            elif self.start == "initial":
                weight[regrow] = initial[name].to(weight)[regrow]
            elif self.start == "random":
                bound = weight[0].numel() ** -0.5
                drawn = torch.rand(weight.shape, generator=generator) * 2 * bound - bound
                weight[regrow] = drawn.to(weight)[regrow]
            trial.before_pruning[name] = trial.before_pruning[name].masked_fill(regrow, 0.0)
            trial.masks[name] = trial.masks[name] | regrow
            if bool(trial.masks[name].all()):
                del trial.masks[name], trial.before_pruning[name]
