"""An optimizer: any `torch.optim.Optimizer`. The parameters of ``__init__`` are those in YAML."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeAlias

import torch
from framework import Interval, hookimpl
from torch import Tensor

Beta: TypeAlias = Annotated[float, Interval(ge=0, lt=1)]


class Lion(torch.optim.Optimizer):
    """Lion (Chen et al. 2023, arXiv:2302.06675): in every step every weight moves by the learning rate, up or down.

    Args:
        params: tensors.
        lr: how far; a tenth of what is good for AdamW is a good start.
        betas: how much of the gradients' running mean counts for the direction of a step, and for the next mean.
        weight_decay: decoupled: a step shrinks weights by ``lr × weight_decay``.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: Annotated[float, Interval(gt=0)] = 1e-3,
        betas: tuple[Beta, Beta] = (0.9, 0.99),
        weight_decay: Annotated[float, Interval(ge=0)] = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Args:
            closure: computes the loss and its gradients.

        Returns:
            The closure's loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, (now, later) = group["lr"], group["betas"]
            for param in group["params"]:
                if param.grad is not None:
                    mean = self.state[param].setdefault("mean", torch.zeros_like(param))
                    direction = mean.lerp(param.grad, 1 - now).sign()
                    param.mul_(1 - lr * group["weight_decay"]).sub_(direction, alpha=lr)
                    mean.lerp_(param.grad, 1 - later)
        return loss


@hookimpl
def register_optimizers() -> Mapping[str, Callable[..., torch.optim.Optimizer]]:
    """The optimizers of this package, by the names that specs use."""
    return {"a_plugin": Lion}
