"""What keeps masked weights at 0 and frozen elements as they are while an optimizer lives."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from framework._errors import StageError
from framework._masks import Masks


def trainable(model: nn.Module, frozen: Masks) -> list[nn.Parameter]:
    """The parameters with at least one element that is not frozen: what an optimizer is made with.

    Raises:
        StageError: everything is frozen.
    """
    held = {
        parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)  # a tied weight is held by either name
        if name in frozen and bool(frozen[name].all())
    }
    free = [parameter for parameter in model.parameters() if parameter not in held]
    if not free:
        raise StageError("every parameter is frozen: nothing is left to train (unfreeze some first)")
    return free


class Constraints:
    """Holds masked weights at 0 and frozen elements at their value, with few fused operations per step."""

    def __init__(self, model: nn.Module, masks: Masks, frozen: Mapping[str, Tensor]) -> None:
        self._model, self._frozen = model, frozen
        self._grad_params: list[nn.Parameter] = []
        self._grad_factors: list[Tensor] = []
        self._pruned: list[Tensor] = []
        self._factors: list[Tensor] = []
        self._held: list[tuple[nn.Parameter, Tensor, Tensor]] = []
        self._still = [
            module
            for name, module in model.named_modules()
            if (f"{name}.running_mean" if name else "running_mean") in frozen
        ]
        # A tied weight has several names, any of which may be the masked or the frozen one.
        for name, parameter in model.named_parameters(remove_duplicate=False):
            held = frozen.get(name)
            mask = masks.get(name)
            if mask is not None:
                parameter.detach().masked_fill_(~mask, 0.0)  # else weight decay would carry it into optimizer state
            if held is not None and bool(held.all()):
                parameter.requires_grad_(False)
                continue
            partly = held is not None and bool(held.any())
            if mask is not None:
                self._pruned.append(parameter)
                self._factors.append(_like(parameter, mask))
            if held is not None and partly:
                self._held.append((parameter, held, parameter.detach().clone()))
            if mask is not None or partly:
                free = torch.ones_like(parameter, dtype=torch.bool) if mask is None else mask
                self._grad_params.append(parameter)
                self._grad_factors.append(_like(parameter, free if held is None else free & ~held))

    def set_masks(self, masks: Masks, optimizer: torch.optim.Optimizer) -> None:
        type(self).__init__(self, self._model, masks, self._frozen)
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if name in masks and parameter in optimizer.state:
                for value in optimizer.state[parameter].values():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        value.masked_fill_(~masks[name], 0.0)

    def train_mode(self, model: nn.Module) -> None:
        model.train()
        for module in self._still:
            module.eval()

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of what is held, so that optimizer state never builds up there."""
        present = [
            (p.grad, f) for p, f in zip(self._grad_params, self._grad_factors, strict=True) if p.grad is not None
        ]
        if present:
            grads, factors = zip(*present, strict=True)
            torch._foreach_mul_(grads, factors)

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what weight decay, momentum or an orthogonalised update has moved all the same."""
        if self._pruned:
            torch._foreach_mul_(self._pruned, self._factors)
        for parameter, held, value in self._held:
            torch.where(held, value, parameter, out=parameter)


def _like(parameter: Tensor, mask: Tensor) -> Tensor:
    # The same memory layout as the parameter: fused operations fall back to slow ones where strides differ.
    return torch.empty_like(parameter, requires_grad=False).copy_(mask)
