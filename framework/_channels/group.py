"""Channels that are tied together, and the elements of a network's parameters that are theirs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from framework._masks import Masks

Role: TypeAlias = Literal["out", "norm", "in"]
"""What a layer does with channels: it computes them, works on each of them alone, or is fed by them."""


@dataclass(frozen=True)
class Part:
    """What one layer has of a group of channels.

    Attributes:
        layer: the name of the module.
        role: what it does with them.
        tensors: the names of the parameters that have slices for them, the weight first, and along which dimension.
        channels: int64 (K,), which channel of the group a slice belongs to.
        places: int64 (K,), where it lies along that dimension.
        remove: Torch-Pruning's function that removes slices from a module, in place.
    """

    layer: str
    role: Role
    tensors: Mapping[str, int]
    channels: Tensor
    places: Tensor
    remove: Callable[[Any, list[int]], Any]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one layer, or of several layers that are tied channel by channel: these can only go together.

    Attributes:
        name: the weight of the first layer that computes them; no two groups share it.
        count: how many channels.
        parts: of all layers concerned.
    """

    name: str
    count: int
    parts: Sequence[Part]

    def weights(self, role: Role) -> list[str]:
        """The weights that have slices in this role, such as those whose filters the channels are (``out``)."""
        return list(dict.fromkeys(name for part in self.parts if part.role == role for name in [*part.tensors][:1]))

    @property
    def parameters(self) -> list[str]:
        """The names of all parameters that have elements of these channels, each once."""
        return list(dict.fromkeys(name for part in self.parts for name in part.tensors))

    def mark(self, chosen: Tensor, marks: Masks) -> None:
        """Set all elements of some channels to True.

        Args:
            chosen: bool, (count,), on the CPU.
            marks: bool tensors of the parameters' shapes, by name; changed in place.
        """
        for part in self.parts:
            places = part.places[chosen[part.channels]]
            for name, dim in part.tensors.items():
                marks[name].index_fill_(dim, places.to(marks[name].device), True)

    def every(self, flags: Mapping[str, Tensor]) -> Tensor:
        """Tell the channels all of whose elements are flagged.

        Args:
            flags: bool tensors of the parameters' shapes, by name; without one, no element of it is flagged.

        Returns:
            bool, (count,), on the CPU.
        """
        missing = torch.zeros(self.count, dtype=torch.int64)
        for part, name, dim in self._tensors():
            whole = _slices(flags[name], dim).all(1).cpu()[part.places] if name in flags else torch.tensor(False)
            missing.index_add_(0, part.channels, (~whole).long().expand(len(part.places)))
        return missing == 0

    def some(self, flags: Mapping[str, Tensor]) -> Tensor:
        """Tell the channels any of whose elements is flagged; arguments and result are those of `every`."""
        found = torch.zeros(self.count, dtype=torch.int64)
        for part, name, dim in self._tensors():
            if name in flags:
                found.index_add_(0, part.channels, _slices(flags[name], dim).any(1).cpu()[part.places].long())
        return found > 0

    def sums(self, scores: Mapping[str, Tensor], role: Role) -> Tensor:
        """Add up the numbers of each channel in the weights of this role.

        Args:
            scores: by parameter name, of its shape.
            role: of the parts.

        Returns:
            float64, (count,), on the CPU; 0 for a channel that has no slice there.
        """
        total = torch.zeros(self.count, dtype=torch.float64)
        for part in self.parts:
            if part.role == role and part.tensors:
                name, dim = next(iter(part.tensors.items()))
                total.index_add_(0, part.channels, _slices(scores[name].double(), dim).sum(1).cpu()[part.places])
        return total

    def covered(self, role: Role) -> Tensor:
        """Tell the channels that have a slice in a weight of this role; bool, (count,)."""
        found = torch.zeros(self.count, dtype=torch.bool)
        for part in self.parts:
            if part.role == role and part.tensors:
                found[part.channels] = True
        return found

    def _tensors(self) -> Iterator[tuple[Part, str, int]]:
        return ((part, name, dim) for part in self.parts for name, dim in part.tensors.items())


def _slices(tensor: Tensor, dim: int) -> Tensor:
    """One row for each place along a dimension."""
    return tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
