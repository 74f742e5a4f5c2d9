"""Tell whether what a spec names in a file or a module can be of the kind that it is named as."""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from framework._component import KINDS
from framework._errors import PluginError, shown

_NEEDS = {
    "stage": "a class that derives from framework.Stage",
    "sparsifier": "a class that derives from framework.Sparsifier, or a function that makes one",
    "model": "a class that derives from torch.nn.Module, or a function that makes one",
    "loss": "a class that derives from torch.nn.Module, a function that makes one, or one of outputs and targets",
    "transform": "a class that derives from torch.nn.Module, or a function that makes one",
    "optimizer": "a class that derives from torch.optim.Optimizer, or a function that makes one",
    "dataset": "a function that gives a framework.Dataset, framework.Arrays or a framework.Source",
    "metric": "a class with update, compute and higher_is_better, as torchmetrics has, or a function that makes one",
}


def fitted(kind: str, found: Any, part: str, place: str, *, foreign: bool) -> Callable[..., Any]:
    """Return what makes the component: what was found, or of a loss that is a function what makes it a module.

    Args:
        kind: the kind.
        found: what is called so.
        part: what it is called.
        place: where it is, for messages.
        foreign: a spec alone has named it: it is in a module, and a function has to say what it returns.

    Raises:
        PluginError: it cannot be of this kind.
    """
    if not callable(found) or not (inspect.isclass(found) or hasattr(found, "__name__")):
        raise PluginError(f"{place}: {part} is {shown(found)}, and a {kind} is {_needs(kind)}")
    bases = _bases(kind)
    if kind == "metric":
        named = not foreign and not inspect.isclass(found)
        if not named and not _is_metric(found if inspect.isclass(found) else _hints(found).get("return")):
            raise PluginError(f"{place}: {part} is no metric: that is {_needs(kind)}")
        return found  # type: ignore[no-any-return]
    if not bases:
        if not _asks_for(found, KINDS[kind].inputs):
            raise PluginError(f"{place}: {part} is no {kind}: it asks for none of {', '.join(KINDS[kind].inputs)}")
        return found  # type: ignore[no-any-return]
    if inspect.isclass(found):
        if not _derives(found, bases) and (foreign or kind != "dataset"):
            raise PluginError(f"{place}: {part} is no {kind}: that is {_needs(kind)}")
        if kind in ("stage", "sparsifier") and "__annotations__" in vars(found) and not _is_dataclass(found):
            raise PluginError(
                f"{place}: {part} has parameters but is no dataclass: write @dataclass(frozen=True) above"
            )
        return found
    if kind == "stage":
        raise PluginError(f"{place}: {part} is no stage: that is {_needs(kind)}")
    if kind == "loss" and _of_outputs_and_targets(found, foreign):
        from framework._registry.function_loss import module_of

        return module_of(found)
    if foreign and not _returns(found, bases):
        names = " or ".join(base.__name__ for base in bases)
        raise PluginError(
            f"{place}: {part} is a function that a spec alone names: it must be annotated to return a {names}"
        )
    return found  # type: ignore[no-any-return]


def _is_metric(found: Any) -> bool:
    """Tell whether it is a class of metrics, which need not derive from any other."""
    return inspect.isclass(found) and all(hasattr(found, name) for name in ("update", "compute", "higher_is_better"))


def _needs(kind: str) -> str:
    return _NEEDS.get(kind) or f"a function of any of {', '.join(KINDS[kind].inputs)}"


def _bases(kind: str) -> tuple[type, ...]:
    """The classes that a component of a kind makes; none of a kind that computes a value."""
    from torch import nn, optim

    from framework._data import Arrays, Source
    from framework._dataset import Dataset
    from framework._sparsifier import Sparsifier
    from framework._stage import Stage

    made: dict[str, tuple[type, ...]] = {
        "stage": (Stage,),
        "sparsifier": (Sparsifier,),
        "model": (nn.Module,),
        "loss": (nn.Module,),
        "transform": (nn.Module,),
        "optimizer": (optim.Optimizer,),
        "dataset": (Dataset, Arrays, Source),
    }
    return made.get(kind, ())


def _is_dataclass(found: type) -> bool:
    return is_dataclass(found) and "__dataclass_fields__" in vars(found)


def _asks_for(function: Callable[..., Any], inputs: tuple[str, ...]) -> bool:
    try:
        return bool({*inspect.signature(function).parameters} & {*inputs})
    except (TypeError, ValueError):  # of something in C
        return False


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except Exception:  # annotations are code; what is wrong with them is told where parameters are read
        return {}


def _of_outputs_and_targets(function: Callable[..., Any], foreign: bool) -> bool:
    """Tell whether the first two parameters are tensors: they have no default, and are annotated so or not at all."""
    from torch import Tensor

    try:
        first = list(inspect.signature(function).parameters.values())[:2]
    except (TypeError, ValueError):
        return False
    hints = _hints(function)
    expected = {Tensor} if foreign else {Tensor, None}
    plain = all(
        p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and hints.get(p.name) in expected
        for p in first
    )
    return len(first) == 2 and plain and (not foreign or hints.get("return") is Tensor)


def _returns(function: Callable[..., Any], bases: tuple[type, ...]) -> bool:
    made = _hints(function).get("return")
    return inspect.isclass(made) and _derives(made, bases)


def _derives(found: type, bases: tuple[type, ...]) -> bool:
    return any(base in found.__mro__ for base in bases)  # one is a protocol, of which issubclass does not tell
