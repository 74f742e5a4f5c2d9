"""The weights that sparsity is counted over."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from framework._errors import StageError
from framework._masks.algebra import Masks, flags_by_tensor, select
from framework._masks.order import eval_mode

_WEIGHT_LAYERS = (
    nn.Linear,
    nn.Bilinear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
# Attention keeps the weights of its input projections itself, outside any Linear.
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def prunable(
    model: nn.Module, order: Sequence[str] | None = None, also: Container[str] = ()
) -> dict[str, nn.Parameter]:
    """Find the weights of all convolutional, linear, recurrent and attention layers, which sparsity is counted over.

    Those that are computed from other parameters are not among them, see `computed_weights`.

    Args:
        model: the model.
        order: parameter names, as from `forward_order`; None: the order of registration.
        also: names of weights of embeddings that count as well, which others do not.

    Returns:
        Parameter name to parameter, in that order; a tied weight stands once, where it is used first. Empty if there
        is none.

    Raises:
        StageError: a layer is lazy, so that it has no weights yet.
    """
    found: dict[str, nn.Parameter] = {}
    named = [
        (embedding, layer, "weight") for layer, embedding in embeddings(model).items() if f"{layer}.weight" in also
    ]
    for module, layer, attribute in (*_weights(model), *named):
        weight = module._parameters.get(attribute)
        if weight is None or is_parametrized(module, attribute):
            continue
        name = f"{layer}.{attribute}" if layer else attribute
        if is_lazy(weight):
            raise StageError(
                f"the layer {layer or type(module).__name__} is lazy: it has no weights before it has seen an image; "
                "call the model once on images where it is made"
            )
        found[name] = weight
    names = found if order is None else [name for name in order if name in found]
    first: dict[Tensor, str] = {}
    for name in names:
        first.setdefault(found[name], name)
    return {name: found[name] for name in first.values()}


def embeddings(model: nn.Module) -> dict[str, nn.Module]:
    """Find the embeddings, by layer: tables to look up in rather than weights, which are pruned only if named."""
    found = model.named_modules(remove_duplicate=False)
    return {layer: module for layer, module in found if isinstance(module, nn.Embedding | nn.EmbeddingBag)}


def computed_weights(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Find the weights of the same layers that are no parameters, but computed from parameters in each forward pass.

    So it is under `torch.nn.utils.parametrize`, and under the hooks of weight_norm, spectral_norm and torch's pruning.

    Returns:
        Name, as if the weight were a parameter, to the parameters that it is computed from.
    """
    found = {}
    for module, layer, attribute in _weights(model):
        if is_parametrized(module, attribute):
            sources = list(module.parametrizations[attribute].parameters())  # type: ignore[index, union-attr]
        elif isinstance(vars(module).get(attribute), Tensor):  # where hooks put it
            names = [f"{attribute}_{part}" for part in ("g", "v", "orig")]
            sources = [module._parameters[name] for name in names if name in module._parameters]
        else:
            continue
        found[f"{layer}.{attribute}" if layer else attribute] = sources
    return found


def computed_values(model: nn.Module) -> dict[str, Tensor]:
    """Compute the values of `computed_weights` in eval mode, in which spectral normalisation does not iterate."""
    with torch.no_grad(), eval_mode(model):
        return {
            name: getattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
            for name in computed_weights(model)
        }


def _weights(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """List every layer with weights that count, its name, and the attribute that may hold one."""
    for layer, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _WEIGHT_LAYERS):
            yield module, layer, "weight"
        elif isinstance(module, nn.MultiheadAttention):
            for attribute in _ATTENTION_WEIGHTS:
                yield module, layer, attribute
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            # Of all layers and directions: weight_ih_l0, weight_hh_l0_reverse, weight_hr_l1, …
            stored = [name for name in (*module._parameters, *vars(module)) if name.startswith("weight_")]
            if "parametrizations" in module._modules:
                stored += module.parametrizations  # type: ignore[arg-type]
            for attribute in stored:
                if _names_recurrent(attribute):
                    yield module, layer, attribute


def _names_recurrent(attribute: str) -> bool:
    parts = attribute.split("_")
    return parts[1] in ("ih", "hh", "hr") and all(p == "reverse" or p.removeprefix("l").isdigit() for p in parts[2:])


def candidates(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    frozen: Masks,
    patterns: Sequence[str] | None,
    exclude: Sequence[str],
) -> Masks:
    """Mark the elements that may be pruned or regrown: those of the chosen weights that are not frozen.

    Args:
        model: the network.
        weights: its prunable weights by name.
        frozen: by name of a parameter or buffer, True = the element is held.
        patterns: which to choose, see `select`.
        exclude: which to leave out.

    Returns:
        By name a bool tensor of the weight's shape, True = may be pruned or regrown.

    Raises:
        StageError: there is no such weight or it is computed, a pattern matches nothing, or all of it is frozen.
    """
    computed = computed_weights(model)
    if not weights and not computed:
        raise StageError(
            f"{type(model).__name__} has no convolutional, linear, recurrent or attention layer: nothing to prune"
        )
    chosen = select([*weights, *computed], patterns, exclude)
    for name in chosen:
        if name in computed:
            raise StageError(
                f"{name} is computed from other parameters (weight_norm, spectral_norm or another parametrization), so "
                "that it cannot be pruned: remove that where the model is made, for example with "
                "torch.nn.utils.parametrize.remove_parametrizations, or choose other layers with layers or exclude"
            )
    held = flags_by_tensor(model, frozen)
    free = {
        name: ~held[weights[name]] if weights[name] in held else torch.ones_like(weights[name], dtype=torch.bool)
        for name in chosen
    }
    if not any(bool(mask.any()) for mask in free.values()):
        raise StageError(
            "all weights to choose from are frozen, and what is frozen keeps its mask: unfreeze some first"
        )
    return free


def sparsity(weights: Mapping[str, Tensor], computed: Iterable[Tensor] = ()) -> dict[str, float]:
    """Count exact zeros in each weight and in all, as fractions in [0, 1].

    Args:
        weights: by parameter name.
        computed: the values of weights that are no parameters; they count in the whole.

    Returns:
        ``sparsity`` over all weights and ``sparsity/<layer>`` for each; nothing where there are none.
    """
    every = [*weights.values(), *computed]
    if not every:
        return {}
    # A fifth of the time that comparing with 0 takes, and it is asked for every epoch.
    others = torch.stack([torch.count_nonzero(w) for w in every]).tolist()
    sizes = [w.numel() for w in every]
    zeros = [size - other for size, other in zip(sizes, others, strict=True)]
    by_layer = {
        f"sparsity/{layer_name(name)}": zero / size for name, zero, size in zip(weights, zeros, sizes, strict=False)
    }
    return {"sparsity": sum(zeros) / sum(sizes), **by_layer}


def held_fraction(model: nn.Module, weights: Mapping[str, Tensor], frozen: Masks) -> float:
    """Compute frozen elements ÷ all elements of the weights, in [0, 1]; 0 if there are none.

    A weight is held by any of its names; one that is computed, if all that it is computed from is held whole.

    Args:
        model: the network.
        weights: its prunable weights by name.
        frozen: by name of a parameter or buffer, True = the element is held.
    """
    flags, computed = flags_by_tensor(model, frozen), computed_weights(model)
    whole = {tensor for tensor, mask in flags.items() if bool(mask.all())}
    held = sum(int(flags[weight].sum()) for weight in weights.values() if weight in flags)
    total = sum(weight.numel() for weight in weights.values())
    for name, value in computed_values(model).items() if computed else ():
        total += value.numel()
        held += value.numel() * whole.issuperset(computed[name])
    return held / total if total else 0.0


def layer_name(parameter: str) -> str:
    """Return the module that a parameter belongs to: ``layer1.0.conv1`` for ``layer1.0.conv1.weight``."""
    return parameter.removesuffix(".weight")
