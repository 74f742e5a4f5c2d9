"""Build the network that a trial begins with."""

from collections import Counter
from collections.abc import Sequence
from inspect import isclass
from itertools import chain
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from framework._component import Catalog, Component, build
from framework._data import Inputs, Source
from framework._errors import StageError
from framework._plan import TrialPlan
from framework._random import derived_seed, random_state_kept
from framework._trial.blame import failing_module


def build_model(plan: TrialPlan, catalog: Catalog, source: Source) -> nn.Module:
    """Build a trial's network in its initial state, see `make_model`."""
    return make_model(build(catalog, "model", plan.model), source, derived_seed(plan.seed, "network"))


def make_model(component: Component, source: Inputs, seed: int) -> nn.Module:
    """Build a network for some data, on the CPU and in train mode.

    Torch's global generators are left as they were.

    Raises:
        StageError: it cannot be built for this data.
    """
    shape, name = source.shape, component.name
    with random_state_kept():
        torch.manual_seed(seed)
        with _DrawsByShape(seed):
            _check_rank(component, shape)
            model = component(
                shape=shape,
                classes=len(source.task.outputs),
                data_mean=source.notes.get("data.mean"),
                data_std=source.notes.get("data.std"),
            )
            if not isinstance(model, nn.Module):
                raise StageError(f"model {name!r} gave a {type(model).__name__}, not a torch.nn.Module")
            fill_lazy(model, name, shape, source.dtype)
    if next(model.parameters(), None) is None:
        raise StageError(f"model {name!r} has no parameter: there is nothing to train")
    for key, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise StageError(
                f"model {name!r} keeps a {type(value).__name__} as {key}, which cannot be stored: "
                "let its get_extra_state give a tensor"
            )
    return model.train()


def _check_rank(model: Component, shape: Sequence[int]) -> None:
    """Check that the data has as many dimensions as a model says that it takes, by how it annotates ``shape``."""
    factory = model.entry.factory
    hint = get_type_hints(factory.__init__ if isclass(factory) else factory).get("shape")
    wanted = get_args(hint) if get_origin(hint) is tuple else ()
    if wanted and ... not in wanted and len(wanted) != len(shape):
        expected = "images (channels, height, width)" if len(wanted) == 3 else f"inputs of {len(wanted)} dimensions"
        raise StageError(f"model {model.name!r} takes {expected}, and the data has inputs of shape {tuple(shape)}")


class _DrawsByShape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Seeds every draw by its shape, and by how many of that shape there were before.

    Layers are initialised one after another. Out of one stream of random numbers, a layer of another size would give
    other weights to all that are made after it, and nothing else than that layer is meant to differ.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seed = seed
        self._counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            what = f"{func} {next((tuple(arg.shape) for arg in args if isinstance(arg, Tensor)), args[:1])}"
            self._counts[what] += 1
            torch.default_generator.manual_seed(derived_seed(self._seed, what, self._counts[what]))
        return func(*args, **kwargs)


def fill_lazy(model: nn.Module, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    """Let a network's lazy modules find out their sizes; one without such modules is left alone.

    Args:
        model: the network.
        name: what specs call it.
        shape: of one input, such as (channels, height, width).
        dtype: of inputs.

    Raises:
        StageError: they cannot.
    """
    if not any(is_lazy(tensor) for tensor in chain(model.parameters(), model.buffers())):
        return
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, *shape, dtype=dtype))
    except Exception as error:
        where = failing_module(error, model)
        raise StageError(
            f"model {name!r} has lazy modules, and they cannot be given a size: a forward pass of 2 inputs of shape "
            f"{tuple(shape)} fails{where and f' in {where}'}: {type(error).__name__}: {error}"
        ) from error
