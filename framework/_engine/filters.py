"""Whole filters, which can be pruned like weights."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from framework._channels import OUTPUTS, ChannelGroup, channel_groups, list_reasons
from framework._component import Component
from framework._engine.network import scores
from framework._errors import StageError
from framework._masks import Masks, flags_by_tensor, layer_name, named_tensors, select
from framework._stage import Trial


class Filters:
    """The filters of a trial's network: the output channels of its convolutions and linear layers.

    A filter goes with all that belongs to it: its bias, its entries of batch normalisation, and the weights by which
    other layers read it. All of that is masked. Filters that are tied, channel by channel, as by a residual sum or by a
    convolution of single channels, go together and count as one. They are known by the weight of the first layer of
    those that are tied.

    Which layers these are is found by Torch-Pruning's dependency graph (``pip install 'framework[structured]'``). A
    layer whose filters cannot go is no candidate; a note says why.

    Args:
        trial: whose network it is.

    Raises:
        StageError: Torch-Pruning is missing, or cannot follow the network.

    Example:
        >>> filters = Filters(trial)
        >>> [name] = filters.candidates(["conv1"])
        >>> filters.set_masks({name: trial.model.conv1.weight.abs().sum((1, 2, 3)) > 1})
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        groups, self._refused = channel_groups(trial.model, trial.data.shape, trial.data.dtype)
        self._groups = {group.name: group for group in groups}

    def candidates(self, layers: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> Masks:
        """What may be pruned or regrown: the filters of the chosen layers of which nothing is frozen.

        Args:
            layers: patterns of names, see `framework.select`; None chooses all layers.
            exclude: patterns of names to leave out. Of layers that are tied, one that is left out keeps all.

        Returns:
            By name a bool tensor (filters,), on the CPU; in forward order.

        Raises:
            StageError: there is none, or a pattern matches nothing.
        """
        trial = self._trial
        chosen = {*select([*trial.weights(), *trial.computed_weights()], layers, exclude)}
        whole = {name: group for name, group in self._groups.items() if chosen.issuperset(group.weights("out"))}
        why = {name: reason for name, reason in self._refused.items() if name in chosen}
        for group in self._groups.values():
            others = [layer_name(name) for name in group.weights("out") if name not in chosen]
            if others:
                tied = f"it is tied to {', '.join(others)}, and that is not chosen"
                why |= {name: tied for name in group.weights("out") if name in chosen}
        if not whole:
            raise StageError(f"there is no filter to choose: {list_reasons(why)}")
        if unexpected := {name: reason for name, reason in why.items() if layers or reason != OUTPUTS}:
            logging.getLogger("framework").warning("these layers keep all their filters: %s", list_reasons(unexpected))
        held = self._by_name(trial.frozen)
        free = {name: ~group.some(held) for name, group in whole.items()}
        if not any(bool(mask.any()) for mask in free.values()):
            raise StageError("all filters to choose from are frozen in part, and what is frozen keeps its mask")
        return free

    def masks(self, names: Iterable[str]) -> Masks:
        """Tell what is pruned whole: by name a bool tensor (filters,), on the CPU, False = every element is masked."""
        closed = self._by_name({name: ~mask for name, mask in self._trial.masks.items()})
        return {name: ~self._groups[name].every(closed) for name in names}

    def set_masks(self, masks: Masks) -> None:
        """Prune and unprune, with all that belongs to a filter; see `Trial.set_masks`.

        A filter that is opened opens whole, but for the weights by which it reads filters that stay pruned.

        Args:
            masks: by name, bool (filters,), on the CPU; True = stays, or opens.
        """
        trial, before = self._trial, self.masks(self._groups)
        after = {**before, **masks}
        changed = [group for name, group in self._groups.items() if not torch.equal(before[name], after[name])]
        parameters = {name: trial.model.get_parameter(name) for name in self.parameters(self._groups)}
        opened, closed = ({n: torch.zeros_like(p, dtype=torch.bool) for n, p in parameters.items()} for _ in range(2))
        for name, group in self._groups.items():
            group.mark(after[name] & ~before[name], opened)
            group.mark(~after[name], closed)
        concerned = {name for group in changed for name in group.parameters}
        current = {
            name: trial.masks.get(name, torch.ones_like(closed[name])) for name in parameters if name in concerned
        }
        trial.set_masks({name: (mask | opened[name]) & ~closed[name] for name, mask in current.items()})

    def scores(self, criterion: Component, names: Sequence[str], **options: Any) -> dict[str, Tensor]:
        """Score filters: by the sum of the scores of their weights, of all layers that are tied.

        Args:
            criterion: a stage's parameter of type `framework.Criterion`. One that asks for ``gamma`` scores the batch
                normalisation of the filters instead.
            names: as from `candidates`.
            options: those of `framework.scores`.

        Returns:
            By name float64 (filters,), on the CPU.

        Raises:
            StageError: the criterion gave something else than scores, or a layer has no batch normalisation.
        """
        groups = {name: self._groups[name] for name in names}
        if "gamma" in criterion.entry.inputs:
            return {name: self._norm_scores(criterion, group) for name, group in groups.items()}
        weights = {weight for group in groups.values() for weight in group.weights("out")}
        found = scores(criterion, self._trial, [name for name in self._trial.weights() if name in weights], **options)
        return {name: group.sums(found, "out") for name, group in groups.items()}

    def _norm_scores(self, criterion: Component, group: ChannelGroup) -> Tensor:
        if not bool(group.covered("norm").all()):
            raise StageError(
                f"criterion {criterion.name!r} scores filters by their batch normalisation, and those of "
                f"{layer_name(group.name)} have none: leave that layer out with exclude, or take another criterion"
            )
        found = {}
        for name in group.weights("norm"):
            gamma = self._trial.model.get_parameter(name).detach()
            found[name] = criterion(gamma=gamma, weight=None, gradient=None, generator=None, network=None)
            if not isinstance(found[name], Tensor) or found[name].shape != gamma.shape or found[name].isnan().any():
                raise StageError(
                    f"criterion {criterion.name!r} must give a number for each of the {len(gamma)} of {name}"
                )
        return group.sums(found, "norm")

    def shapes(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The shape of the first layer's weight, by name."""
        return {name: tuple(self._trial.model.get_parameter(name).shape) for name in names}

    def layers(self, name: str) -> list[str]:
        """The weights of all layers that are tied under a name, itself first."""
        return self._groups[name].weights("out")

    def parameters(self, names: Iterable[str]) -> list[str]:
        """The parameters that have elements of these filters, in forward order."""
        found = {parameter for name in names for parameter in self._groups[name].parameters}
        return [name for name in self._trial.forward_order if name in found]

    def _by_name(self, flags: Masks) -> dict[str, Tensor]:
        """Flags of any name of a tensor, by the names that groups know it by."""
        found = flags_by_tensor(self._trial.model, flags)
        return {name: found[tensor] for name, tensor in named_tensors(self._trial.model).items() if tensor in found}
