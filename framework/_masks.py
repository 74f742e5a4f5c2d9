"""Masks, and what they are counted over.

A mask is a bool tensor of its parameter's shape. In `Masks` of *pruning*, ``True`` says that the weight may be
non-zero; in those of *freezing*, ``True`` says that the element is held.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from framework._errors import StageError, nearest

Masks: TypeAlias = dict[str, Tensor]
"""By parameter name a bool tensor of its shape: of pruning, True = may be non-zero; of freezing, True = is held."""

_WEIGHT_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
# Attention keeps the weights of its input projections itself, outside any Linear.
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a while; then each of its modules gets back its own mode."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def forward_order(model: nn.Module, shape: Sequence[int]) -> list[str]:
    """Names of all modules in the order in which a forward pass first calls them.

    A module that is not called (its parent uses its weights directly) comes right after its parent.

    Args:
        model: any module that takes one batch of images.
        shape: (channels, height, width) of one image.
    """
    called: dict[str, int] = {}

    def note(name: str, *_: object) -> None:
        called.setdefault(name, len(called))

    hooks = [m.register_forward_pre_hook(partial(note, name)) for name, m in model.named_modules()]
    try:
        device = next(model.parameters()).device
        with torch.no_grad(), eval_mode(model):
            # Two, of the type that batches have: normalisation without statistics cannot do with one.
            model(torch.zeros(2, *shape, device=device))
    finally:
        for hook in hooks:
            hook.remove()

    def position(name: str) -> int:
        while name not in called:
            name = name.rpartition(".")[0]
        return called[name]

    names = [name for name, _ in model.named_modules()]
    return sorted(names, key=position)  # stable: registration order decides among the uncalled


def prunable(model: nn.Module, order: Iterable[str]) -> dict[str, nn.Parameter]:
    """The weights of all convolutional, linear and attention layers: what sparsity is counted over.

    Args:
        model: the model.
        order: module names, as from `forward_order`.

    Returns:
        Parameter name to parameter, in that order; a tied weight stands once, where it is used first.
    """
    weights: dict[str, nn.Parameter] = {}
    for name in order:
        module = model.get_submodule(name)
        if isinstance(module, _WEIGHT_LAYERS):
            own: tuple[str, ...] = ("weight",)
        elif isinstance(module, nn.MultiheadAttention):
            own = _ATTENTION_WEIGHTS
        else:
            continue
        for attribute in own:
            weight = getattr(module, attribute, None)
            if isinstance(weight, nn.Parameter) and not any(weight is w for w in weights.values()):
                weights[f"{name}.{attribute}" if name else attribute] = weight
    return weights


def sparsity(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Exact zeros in each weight and in all, as fractions in [0, 1].

    Returns:
        ``sparsity`` over all weights and ``sparsity/<layer>`` for each.
    """
    # A fifth of the time that comparing with 0 takes, and it is asked for every epoch.
    others = torch.stack([torch.count_nonzero(w) for w in weights.values()]).tolist()
    sizes = [w.numel() for w in weights.values()]
    zeros = [size - other for size, other in zip(sizes, others, strict=True)]
    by_layer = {
        f"sparsity/{layer_name(name)}": zero / size for name, zero, size in zip(weights, zeros, sizes, strict=True)
    }
    return {"sparsity": sum(zeros) / sum(sizes), **by_layer}


def held_fraction(weights: Mapping[str, Tensor], frozen: Masks) -> float:
    """Frozen elements ÷ all elements of the weights, in [0, 1]."""
    held = sum(int(frozen[name].sum()) for name in weights if name in frozen)
    return held / sum(w.numel() for w in weights.values())


def layer_name(parameter: str) -> str:
    """The module that a parameter belongs to: ``layer1.0.conv1`` for ``layer1.0.conv1.weight``."""
    return parameter.removesuffix(".weight")


def select(names: Sequence[str], patterns: Sequence[str] | None, exclude: Sequence[str] = ()) -> list[str]:
    """The parameters whose name, or whose layer's name or a parent's, matches one of the patterns.

    Args:
        names: parameter names.
        patterns: shell-style patterns, such as ``layer1.*`` or ``fc``; None selects all.
        exclude: patterns to leave out.

    Raises:
        StageError: there is no name, a pattern matches nothing, or nothing is left.
    """
    if not names:
        raise StageError("the network has no convolutional, linear or attention layer: nothing to choose from")

    def matching(pattern: str) -> set[str]:
        found = {name for name in names if any(fnmatchcase(part, pattern) for part in _parents(name))}
        if not found:
            layers = {part for name in names for part in _parents(name)}
            raise StageError(f"no layer matches {pattern!r} ({nearest(pattern, layers)})")
        return found

    kept = set(names) if patterns is None else {n for pattern in patterns for n in matching(pattern)}
    kept -= {n for pattern in exclude for n in matching(pattern)}
    if not kept:
        raise StageError("no layer is left to choose from: the patterns select none")
    return [name for name in names if name in kept]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def lowest(scores: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Mark the ``count`` candidates with the lowest scores, the first ones among equals.

    Args:
        scores: (N,), any number type without NaN.
        candidates: bool, (N,).
        count: at most the number of candidates.

    Returns:
        bool, (N,), with exactly ``count`` True.
    """
    if count == 0:
        return torch.zeros_like(candidates)
    threshold = scores[candidates].kthvalue(count).values
    marked = candidates & (scores < threshold)
    ties = (candidates & (scores == threshold)).nonzero().squeeze(1)
    marked[ties[: count - int(marked.sum())]] = True
    return marked
