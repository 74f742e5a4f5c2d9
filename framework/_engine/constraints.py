"""Keep masked weights at 0 and frozen elements as they are, whatever the optimizer does."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from framework._errors import StageError
from framework._masks import Masks, check_masks, flags_by_tensor

# By the size of a number in bytes, integers as wide.
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Slots that a fresh optimizer fills with a number of its options instead of 0: Rprop's step sizes, Adagrad's sums.
_BEGINS = {"step_size": "lr", "sum": "initial_accumulator_value"}
# With larger weights, squares are no longer finite in float32.
_LARGEST = torch.finfo(torch.float32).max ** 0.5


def trainable(model: nn.Module, frozen: Masks) -> list[nn.Parameter]:
    """List the parameters with at least one element that is not frozen: an optimizer is made with these.

    Raises:
        StageError: everything is frozen.
    """
    held = {tensor for tensor, mask in flags_by_tensor(model, frozen).items() if bool(mask.all())}
    free = [parameter for parameter in model.parameters() if parameter not in held]
    if not free:
        raise StageError("every parameter is frozen: nothing is left to train (unfreeze some first)")
    return free


def check_finite(model: nn.Module) -> None:
    """Check that a network can still be computed with.

    Raises:
        StageError: a weight is NaN, infinite, or so large that its square is; says in which parameter.
    """
    parameters = {
        n: p.detach() for n, p in model.named_parameters() if p.numel() and (p.is_floating_point() or p.is_complex())
    }
    largest = torch.stack([norm.float() for norm in torch._foreach_norm(list(parameters.values()), float("inf"))])
    if not bool((largest <= _LARGEST).all()):  # so NaN is found as well
        name, size = next(
            (n, x) for n, x in zip(parameters, largest.tolist(), strict=True) if not (isfinite(x) and x <= _LARGEST)
        )
        raise StageError(
            f"the weights became too large or NaN (the largest of {name} is {size:.3g}): "
            "lower the learning rate or clip gradients"
        )


class Constraints:
    """Holds masked weights at 0 and frozen elements at their value, with few fused operations per step.

    A masked weight and its places in the optimizer's state are exactly 0, whatever was computed for them, NaN included.

    Args:
        model: the network; parameters that are frozen whole get ``requires_grad=False``.
        optimizer: what trains it.
        masks: by parameter name, True = the weight may be non-zero.
        frozen: by name of a parameter or buffer, True = the element is held.

    Raises:
        StageError: masks or frozen do not fit the network.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, masks: Masks, frozen: Masks) -> None:
        for flags in (masks, frozen):
            check_masks(model, flags)
        self._model, self._optimizer = model, optimizer
        self._frozen = {tensor: held for tensor, held in flags_by_tensor(model, frozen).items() if bool(held.any())}
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []  # in part
        self._still: list[nn.Module] = []  # in eval mode
        self._buffers: list[tuple[nn.Module, str, Tensor]] = []  # held whole
        self._values: list[Tensor] = []
        self._drifting: set[str] = set()  # slots of the optimizer's state that do not stay 0 by themselves
        self._looked = True
        self._masked: dict[Tensor, Tensor] = {}
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                if buffer in self._frozen:
                    self._hold_buffer(module, name, buffer)
        for parameter in model.parameters():
            if parameter in self._frozen and bool(self._frozen[parameter].all()):
                parameter.requires_grad_(False)
        self._take(_by_parameter(model, masks))
        for tensor, held in self._frozen.items():
            if tensor.requires_grad:
                self._held.append((tensor, held, tensor.detach().clone()))

    def _hold_buffer(self, module: nn.Module, name: str, buffer: Tensor) -> None:
        if name == "running_mean" or name.endswith("_u"):
            # What batch, instance and spectral normalisation learn in forward passes, and compute with in the same.
            self._still.append(module)
        if bool(self._frozen[buffer].all()):
            self._buffers.append((module, name, buffer))
            self._values.append(buffer.clone())
        else:
            self._held.append((buffer, self._frozen[buffer], buffer.clone()))

    @torch.no_grad()
    def set_masks(self, masks: Masks) -> None:
        """Replace all masks, weights and optimizer state included; see `Trainer.set_masks`."""
        before = self._masked
        check_masks(self._model, masks)
        after = _by_parameter(self._model, masks)
        stays = {p: _open(p, before.get(p)) & _open(p, after.get(p)) for p in {**before, **after}}
        for name, weight in self._model.named_parameters():
            if weight in stays and weight in self._frozen:
                changed = _open(weight, before.get(weight)) ^ _open(weight, after.get(weight))
                if bool((changed & self._frozen[weight]).any()):
                    raise StageError(f"the mask of {name} may not change where the weight is frozen: unfreeze it first")
        self._take(after)
        begins = {p: group for group in self._optimizer.param_groups for p in group["params"]}
        for parameter, kept in stays.items():
            parameter.masked_fill_(~kept, 0.0)
            if parameter.grad is not None:
                parameter.grad.masked_fill_(~_open(parameter, after.get(parameter)), 0.0)
            for name, slot in _slots(self._optimizer, parameter):
                slot.masked_fill_(~_of_entries(slot, kept), 0)
                if name in _BEGINS and (option := begins[parameter].get(_BEGINS[name])):
                    opened = ~kept & _open(parameter, after.get(parameter))
                    slot.masked_fill_(_of_entries(slot, opened), float(option))

    def train_mode(self, model: nn.Module) -> None:
        """Put all modules in training mode but those whose statistics are frozen."""
        model.train()
        for module in self._still:
            module.training = False

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of what is held, so that optimizer state never builds up there."""
        present = [(p.grad, factor) for p, factor in self._gradients if p.grad is not None]
        _zero([gradient for gradient, _ in present], [factor for _, factor in present])

    @torch.no_grad()
    def restore(self, stepped: bool = True) -> None:
        """Put back what weight decay, momentum or an orthogonalised update has moved all the same.

        Args:
            stepped: whether the optimizer has made a step; if not, nothing can be told of its state.
        """
        _zero(self._weights, self._factors)
        if stepped and not self._looked:
            self._look_for_drift()
        for parameter in self._weights if self._drifting else ():
            for name, slot in _slots(self._optimizer, parameter):
                if name in self._drifting and slot.shape == parameter.shape:
                    slot.masked_fill_(~self._masked[parameter], 0)
        for parameter, held, value in self._held:
            torch.where(held, value, parameter, out=parameter)
        if self._buffers:
            for module, name, buffer in self._buffers:
                module._buffers[name] = buffer  # a forward pass may have put another one there
            torch._foreach_copy_([buffer for _, _, buffer in self._buffers], self._values)

    def _take(self, masked: dict[Tensor, Tensor]) -> None:
        """Mask the weights, and lay out what the fused operations need."""
        self._masked = masked
        for parameter, mask in self._masked.items():
            parameter.detach().masked_fill_(~mask, 0.0)  # else weight decay would carry it into optimizer state
        self._weights = [p for p in self._masked if p.requires_grad]
        self._factors = [_factor(p, self._masked[p]) for p in self._weights]
        factors = dict(zip(self._weights, self._factors, strict=True))
        for parameter, held in self._frozen.items():
            if parameter.requires_grad:
                factors[parameter] = _factor(parameter, _open(parameter, self._masked.get(parameter)) & ~held)
        self._gradients = list(factors.items())
        self._looked = not self._weights

    def _look_for_drift(self) -> None:
        """Find out, once, which slots a step with gradients of 0 does not leave at 0."""
        self._looked = True
        found = [
            (name, slot.masked_fill(self._masked[parameter], 0).count_nonzero())
            for parameter in self._weights
            for name, slot in _slots(self._optimizer, parameter)
            if slot.shape == parameter.shape
        ]
        if found:
            counts = torch.stack([count for _, count in found]).tolist()
            self._drifting |= {name for (name, _), count in zip(found, counts, strict=True) if count}


def _by_parameter(model: nn.Module, masks: Masks) -> dict[Tensor, Tensor]:
    # A tied weight has several names; it is masked by any of them.
    return {
        parameter: ~closed for parameter, closed in flags_by_tensor(model, {n: ~m for n, m in masks.items()}).items()
    }


def _open(parameter: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ones_like(parameter, dtype=torch.bool) if mask is None else mask


def _slots(optimizer: torch.optim.Optimizer, parameter: Tensor) -> Iterator[tuple[str, Tensor]]:
    """List the slots of optimizer state with a number for each element of a parameter, or for each row or column."""
    state: Mapping[str, Any] = optimizer.state.get(parameter, {})
    for name, slot in state.items():
        if not isinstance(slot, Tensor) or not 0 < slot.dim() == parameter.dim():
            continue
        if all(size in (1, whole) for size, whole in zip(slot.shape, parameter.shape, strict=True)):
            yield name, slot


def _of_entries(slot: Tensor, elements: Tensor) -> Tensor:
    """Mark the entries of a slot that stand for any marked element."""
    dims = [d for d, size in enumerate(slot.shape) if size < elements.shape[d]]
    return elements.any(dim=dims, keepdim=True) if dims else elements


def _zero(tensors: list[Tensor], factors: list[Tensor]) -> None:
    """Set to 0 where the factors are 0, in one fused operation.

    The bits are multiplied as integers: NaN × 0 would stay NaN, and filling would be an operation for each tensor.
    """
    if tensors:
        torch._foreach_mul_([_bits(tensor) for tensor in tensors], factors)


def _bits(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.complex128:
        tensor = torch.view_as_real(tensor)
    return tensor.view(_INTEGERS[tensor.element_size()])


def _factor(parameter: Tensor, mask: Tensor) -> Tensor:
    # The same memory layout as the parameter: fused operations fall back to slow ones where strides differ.
    bits = _bits(parameter.detach())
    return torch.empty_like(bits).copy_(mask if bits.shape == mask.shape else mask.unsqueeze(-1))
