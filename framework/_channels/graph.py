"""Find the channels of a network that can go, by Torch-Pruning's dependency graph."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from framework._channels.group import ChannelGroup, Part, Role
from framework._channels.layers import makes_filters, role_of, slices_of, why_not
from framework._channels.removal import refuted
from framework._errors import StageError, first_line
from framework._masks import computed_weights, forward_order, layer_name, prunable
from framework._random import random_state_kept

OUTPUTS = "it gives the network's outputs"
"""Why the last layer keeps its filters."""


def missing_package() -> str:
    """What is to be installed, if it is not there; else empty."""
    return "" if find_spec("torch_pruning") else "needs the package torch-pruning: pip install 'framework[structured]'"


def channel_groups(
    model: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> tuple[list[ChannelGroup], dict[str, str]]:
    """Find the channels that can be removed from a network, and which are tied together.

    It depends on the architecture, not on the values of parameters. Whether a network without some channels computes
    the same as one in which all their elements are 0 is tried out, with half of each group's channels and random
    weights; where it does not, the group is refused. Nothing is read from files or written to any.

    Args:
        model: the network, which is left as it is.
        shape: of one input, such as (channels, height, width).
        dtype: of inputs; tokens are all 0.

    Returns:
        The groups, in forward order of their first layers; and of all other weights, by name, why their filters cannot
        be removed.

    Raises:
        StageError: Torch-Pruning is not installed, or cannot follow a forward pass.
    """
    if missing := missing_package():
        raise StageError(f"to remove whole filters {missing}")
    with random_state_kept():
        copy = _with_random_weights(model)
        images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        order = forward_order(model, shape, dtype)
        groups, refused = _Finder(copy, images, order).groups()
        wrong = refuted(copy, groups, images)
    refused |= {weight: wrong[group.name] for group in groups if group.name in wrong for weight in group.weights("out")}
    groups = [group for group in groups if group.name not in wrong]
    found = {weight for group in groups for weight in group.weights("out")}
    refused = {weight: refused[weight] for weight in order if weight in refused and weight not in found}
    return groups, refused | dict.fromkeys(computed_weights(model), "it is computed from other parameters")


def list_reasons(why: Mapping[str, str]) -> str:
    """Say in a line which weights keep their filters, and why; of those with the same reason, the first one."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in why.items():
        by_reason.setdefault(reason, []).append(layer_name(name))
    return "; ".join(
        f"{layers[0]}{f' and {len(layers) - 1} more' if len(layers) > 1 else ''} ({reason})"
        for reason, layers in by_reason.items()
    )


def _with_random_weights(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in eval mode, none of whose parameters is frozen or 0: each has its part in the outputs."""
    copy, generator = deepcopy(model).cpu().float().eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            if not parameter.is_floating_point():
                continue
            drawn = torch.rand(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                # As Kaiming's initialisation for ReLU, so that what flows through many layers keeps its size.
                drawn = (2 * drawn - 1) * (6 * len(parameter) / max(1, parameter.numel())) ** 0.5
            parameter.copy_(0.1 * drawn if name.endswith("bias") else drawn + 0.5 * (parameter.dim() == 1))
            parameter.requires_grad_()
    return copy


class _Finder:
    """Asks a dependency graph for one group after another.

    Args:
        model: in eval mode; all of its parameters need gradients, by which the graph is found.
        images: a batch of inputs.
        order: the names of its parameters in forward order.

    Raises:
        StageError: the graph cannot be made.
    """

    def __init__(self, model: nn.Module, images: Tensor, order: Sequence[str]) -> None:
        import torch_pruning

        outputs = list[Any]()

        def forward(network: nn.Module, inputs: Tensor) -> Any:
            outputs.append(network(inputs))
            return outputs[-1]

        self._weights = prunable(model, order)
        self._positions = {name: position for position, name in enumerate(order)}
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._names = {module: name for name, module in model.named_modules()}
        # A layer with several names is called as its weight is.
        self._names |= {self._modules[layer]: layer for layer in map(_layer_of, self._weights)}
        self._parameters = {parameter: name for name, parameter in model.named_parameters()}
        try:
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.simplefilter("ignore")  # what a network warns of, it says again when it is trained
                self._graph = torch_pruning.DependencyGraph().build_dependency(
                    model, images, forward_fn=forward, verbose=False
                )
        except Exception as error:  # whatever a network or the graph can raise
            raise StageError(
                f"Torch-Pruning cannot follow a forward pass of {type(model).__name__}, so that no filter can be "
                f"removed: {type(error).__name__}: {first_line(error)}"
            ) from error
        self._outputs = {output.grad_fn for output in tree_leaves(outputs) if isinstance(output, Tensor)}

    def groups(self) -> tuple[list[ChannelGroup], dict[str, str]]:
        """All groups, in forward order, and of weights that are in none of them, why."""
        groups, refused = list[ChannelGroup](), dict[str, str]()
        taken: dict[nn.Module, set[int]] = {}  # the channels of each layer that are in a group already
        for weight in self._weights:
            layer = _layer_of(weight)
            module = self._modules[layer]
            if why := self._not_to_be_asked(layer):
                refused[weight] = why
                continue
            pruner = self._graph.get_pruner_of_module(module)
            free = sorted({*range(pruner.get_out_channels(module))} - taken.get(module, set()))
            if not free:
                continue
            items = list(self._graph.get_pruning_group(module, pruner.prune_out_channels, free))
            # Whatever the graph's order is, that of forward passes: sums over a group are the same on each machine.
            parts = tuple(sorted(self._parts(items, free), key=self._position))
            for part in parts:
                if part.role == "out":
                    taken.setdefault(self._modules[part.layer], set()).update(part.places.tolist())
            group = ChannelGroup(weight, len(free), parts)
            if why := self._refusal(items):
                refused |= {name: why for name in (weight, *group.weights("out")) if name in self._weights}
            else:
                groups.append(group)
        return groups, refused

    def _not_to_be_asked(self, layer: str) -> str:
        module, around = self._modules[layer], _layer_of(layer)
        if isinstance(self._modules[around], nn.MultiheadAttention):
            return why_not(self._modules[around], around)  # which computes with this layer without calling it
        if not makes_filters(module):
            return why_not(module, layer)
        return "" if module in self._graph.module2node else "a forward pass does not call this layer"

    def _refusal(self, items: Sequence[Any]) -> str:
        """Why the channels of a group cannot go; empty if they can."""
        if any(item.dep.target.grad_fn in self._outputs and self._role(item) != "in" for item in items):
            return OUTPUTS
        nodes = [item.dep.target.module for item in items]
        for node in nodes:
            if node not in self._names:
                continue  # an operation
            if why := why_not(node, self._names[node]):
                return why
            if makes_filters(node) and f"{self._names[node]}.weight".lstrip(".") not in self._weights:
                return f"the weight of {self._names[node]} is another layer's too"
        for node in nodes:
            if isinstance(node, nn.Parameter):
                return f"its channels meet {self._parameters.get(node, 'a parameter')}, which belongs to no layer"
        return ""

    def _position(self, part: Part) -> int:
        return min((self._positions[name] for name in part.tensors), default=len(self._positions))

    def _role(self, item: Any) -> Role:
        module, handler = item.dep.target.module, item.dep.handler
        return role_of(module, handler == self._graph.get_pruner_of_module(module).prune_out_channels)

    def _parts(self, items: Sequence[Any], roots: Sequence[int]) -> Iterator[Part]:
        numbers = {root: number for number, root in enumerate(roots)}
        for item in items:
            module = item.dep.target.module
            if isinstance(module, nn.Parameter) or module not in self._names:
                continue  # an operation, such as a sum
            layer, role = self._names[module], self._role(item)
            slices = slices_of(module, role)
            yield Part(
                layer=layer,
                role=role,
                tensors={f"{layer}.{name}" if layer else name: dim for name, dim in slices.items()},
                channels=torch.tensor([numbers[root] for root in item.root_idxs], dtype=torch.int64),
                places=torch.tensor(item.idxs, dtype=torch.int64),
                remove=item.dep.handler,
            )


def _layer_of(name: str) -> str:
    return name.rpartition(".")[0]
