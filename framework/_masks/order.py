"""Find the order in which a network uses its parameters and buffers."""

import logging
import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from framework._masks.algebra import named_tensors
from framework._random import random_state_kept


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


def forward_order(model: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> list[str]:
    """List the names of all parameters and buffers in the order in which a forward pass first uses them.

    What a pass in eval mode does not use, such as the weights of an auxiliary head, comes last; only a buffer that
    is not used stands with the tensors of its module. The network, its buffers and random state are left as they are.
    If the pass fails, what it did not reach comes in the order of registration, and a warning says so.

    Args:
        model: any module that takes one batch of inputs.
        shape: of one input, such as (channels, height, width).
        dtype: of inputs.

    Returns:
        The names, of shared modules and tied weights all of them.
    """
    tensors = named_tensors(model)
    used, called, _ = _first_uses(model, tensors.values(), shape, dtype)
    first_of_module: dict[str, float] = {}
    for name, tensor in tensors.items():
        module = name.rpartition(".")[0]
        first_of_module[module] = min(first_of_module.get(module, inf), used.get(tensor, inf))

    def position(name: str) -> tuple[float, float]:
        module, tensor = name.rpartition(".")[0], tensors[name]
        otherwise = inf if isinstance(tensor, nn.Parameter) else first_of_module[module]
        # Of the names of a tied weight, that of the layer which is called first comes first.
        return used.get(tensor, otherwise), called.get(module, inf)

    return sorted(tensors, key=position)  # stable: registration order decides among the unused


def used(model: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> set[str]:
    """List the names of the parameters and buffers that a forward pass in eval mode uses; all of them if it fails.

    The arguments are those of `forward_order`; the network is left as it is likewise.
    """
    tensors = named_tensors(model)
    found, _, whole = _first_uses(model, tensors.values(), shape, dtype)
    return {name for name, tensor in tensors.items() if tensor in found or not whole}


def _first_uses(
    model: nn.Module, tensors: Iterable[Tensor], shape: Sequence[int], dtype: torch.dtype
) -> tuple[dict[Tensor, int], dict[str, int], bool]:
    """Find out when each tensor is first used, and each module first called, in a pass over two inputs of zeros.

    The last result says whether the pass has come to its end.
    """
    called: dict[str, int] = {}

    def note(name: str, *_: object) -> None:
        called.setdefault(name, len(called))

    modules = list(model.named_modules(remove_duplicate=False))
    hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in modules]
    first, whole = _FirstUse(tensors), False
    try:
        with _undisturbed(model), torch.no_grad(), eval_mode(model):
            device = next(model.parameters()).device
            if any(is_lazy(tensor) for tensor in first.wanted):
                raise RuntimeError("a lazy module has no weights yet")
            inputs = torch.zeros(2, *shape, dtype=dtype, device=device)  # two: normalisation refuses a single one
            with first:
                model(inputs)
            whole = True
    except Exception as error:
        logging.getLogger("framework").warning(
            "the order of the network's layers, beyond those that were reached, is taken from their registration, as "
            "it could not be tried on two empty inputs of shape %s: %s: %s",
            tuple(shape),
            type(error).__name__,
            error,
        )
    finally:
        for hook in hooks:
            hook.remove()
    return first.uses, called, whole


class _FirstUse(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the first operation that is given a tensor, and at which place among its arguments."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wanted = set(tensors)
        self.uses: dict[Tensor, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument in (*args, *(kwargs or {}).values()):
            for tensor in argument if isinstance(argument, list | tuple) else (argument,):
                if isinstance(tensor, Tensor) and tensor in self.wanted:
                    self.uses.setdefault(tensor, len(self.uses))
        return func(*args, **(kwargs or {}))


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Give buffers and random state back as they were.

    Meanwhile attention and recurrent layers compute operation by operation, on every device the same: one fused
    operation would show no order.
    """
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if not is_lazy(buffer)
    ]
    state, fast = random.getstate(), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with random_state_kept(), warnings.catch_warnings(), ExitStack() as stack:
            warnings.simplefilter("ignore")  # what a network warns of, it says again when it is trained
            if any(isinstance(module, nn.RNNBase) for module in model.modules()):
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        random.setstate(state)
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                if not torch.equal(buffer, value):  # else autograd would take it for another one
                    buffer.copy_(value)
                module._buffers[name] = buffer
