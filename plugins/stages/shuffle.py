"""Shuffle masks within each layer."""

from dataclasses import dataclass

import torch

from framework import Stage, StageError, Trial


@dataclass(frozen=True)
class ShuffleMasks(Stage):
    """Move the pruned weights of each layer to places drawn at random; each layer keeps as many as it had.

    A control of pruning (Frankle et al. 2021, arXiv:2009.08576): do results depend on which weights of a layer are
    pruned, or only on how many? What is frozen is neither opened nor closed. A weight that opens has its value before
    pruning; so prune, shuffle and `rewind` give the initial weights under shuffled masks. Patterns within a layer, such
    as whole filters, do not survive.

    Attributes:
        layers: patterns of names, such as ``layer4.*``; all by default.

    Example:
        stages:
          - prune: {amount: 0.9, criterion: snip}
          - shuffle_masks
          - train: {epochs: 5}
    """

    layers: tuple[str, ...] | None = None

    def run(self, trial: Trial) -> None:
        weights, generator, shuffled = trial.weights(), trial.generator(), {}
        for name, free in trial.candidates(self.layers).items():
            if name not in trial.masks or bool((among := trial.masks[name][free]).all()):
                continue
            mask = trial.masks[name].clone()
            mask[free] = among[torch.randperm(len(among), generator=generator).to(among.device)]
            opened = mask & ~trial.masks[name]
            weights[name].detach()[opened] = trial.before_pruning[name][opened]
            shuffled[name] = mask
        if not shuffled:
            raise StageError("there is nothing to shuffle: no weight is masked here that is not frozen (prune first)")
        trial.set_masks(shuffled)
