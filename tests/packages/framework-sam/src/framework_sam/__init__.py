"""Sharpness-aware minimisation (Foret et al. 2021, arXiv:2010.01412)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, optim

from framework import Interval, hookimpl


class SAM(optim.SGD):
    """SGD with momentum, by the gradients at the worst point nearby: it finds weights that lie in a flat valley.

    Every step takes two forward and backward passes; in both, batch normalisation updates its running statistics.

    Args:
        params: tensors.
        lr: the learning rate.
        momentum: SGD's.
        weight_decay: SGD's.
        nesterov: SGD's.
        rho: how far away the worst point is looked for, as the norm of all parameters' distance together.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: Annotated[float, Interval(ge=0)] = 0.05,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9,
        weight_decay: Annotated[float, Interval(ge=0)] = 0.0,
        nesterov: bool = False,
        rho: Annotated[float, Interval(gt=0)] = 0.05,
    ) -> None:
        super().__init__(params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov)
        self.rho = rho

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Make one step.

        Args:
            closure: computes the loss and its gradients. Where it leaves the gradient of an element 0, that element
                stays where it is in both passes.

        Returns:
            The loss at the weights before the step.
        """
        with torch.enable_grad():
            loss = closure()
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        start = [p.clone() for p in moved]
        gradients = [p.grad for p in moved]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_add_(moved, torch._foreach_mul(gradients, self.rho / (norm + 1e-12)))
        with torch.enable_grad():
            closure()
        torch._foreach_copy_(moved, start)  # subtracting what was added would not quite lead back
        super().step()
        return loss


@hookimpl
def register_optimizers() -> Mapping[str, Callable[..., optim.Optimizer]]:
    return {"sam": SAM}
