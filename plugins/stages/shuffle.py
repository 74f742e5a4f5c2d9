"""Shuffle masks within each layer."""

from dataclasses import dataclass

import torch

from framework import Stage, StageError, Trial
from framework_plugins.stages.granularity import NOTHING_PRUNED, Granularity, check_filters, pruned_elements, set_masks


@dataclass(frozen=True)
class ShuffleMasks(Stage):
    """Move the pruned weights of each layer to places drawn at random; each layer keeps as many as it had.

    A control of pruning (Frankle et al. 2021, arXiv:2009.08576): do results depend on which weights of a layer are
    pruned, or only on how many? What is frozen is neither opened nor closed. A weight that opens has its value before
    pruning; so prune, shuffle and `rewind` give the initial weights under shuffled masks. Patterns within a layer, such
    as N:M, do not survive.

    Attributes:
        layers: patterns of names, such as ``layer4.*``; all by default.
        granularity: what is moved: single ``weights``, or whole ``filters`` if these were pruned, with all that belongs
            to them.

    Example:
        stages:
          - prune: {amount: 0.9, criterion: snip}
          - shuffle_masks
          - train: {epochs: 5}
    """

    layers: tuple[str, ...] | None = None
    granularity: Granularity = "weights"

    def __post_init__(self) -> None:
        check_filters(self.granularity)

    def run(self, trial: Trial) -> None:
        elements, generator, shuffled = pruned_elements(trial, self.granularity), trial.generator(), {}
        for name, free in elements.candidates(self.layers).items():
            mask = elements.masks([name])[name]
            if bool((among := mask[free]).all()):
                continue
            shuffled[name] = mask.clone()
            shuffled[name][free] = among[torch.randperm(len(among), generator=generator).to(among.device)]
        if not shuffled:
            raise StageError(f"there is nothing to shuffle: {NOTHING_PRUNED[self.granularity]}")
        for name, (opened, before) in set_masks(trial, elements, shuffled).items():
            trial.model.get_parameter(name).detach()[opened] = before[opened]
