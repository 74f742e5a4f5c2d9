"""Losses that are written as plain functions."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, get_type_hints

from torch import Tensor, nn


class FunctionLoss(nn.Module):
    """A function of outputs and targets as a loss.

    Args:
        function: the function.
        options: its other arguments.
    """

    def __init__(self, function: Callable[..., Tensor], options: dict[str, Any]) -> None:
        super().__init__()
        self.function, self.options = function, options

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss."""
        return self.function(outputs, targets, **self.options)

    def extra_repr(self) -> str:
        """Name the function and its arguments."""
        return ", ".join([self.function.__name__, *(f"{k}={v!r}" for k, v in self.options.items())])


def module_of(function: Callable[..., Tensor]) -> Callable[..., FunctionLoss]:
    """Return what makes a module of a function; its parameters are those after outputs and targets."""

    def make(**parameters: Any) -> FunctionLoss:
        return FunctionLoss(function, parameters)

    signature = inspect.signature(function)
    after = list(signature.parameters.values())[2:]
    made = update_wrapper(make, function)
    made.__signature__ = signature.replace(parameters=after)  # type: ignore[attr-defined]
    hints = get_type_hints(function, include_extras=True)
    made.__annotations__ = {p.name: hints[p.name] for p in after if p.name in hints}
    return made
