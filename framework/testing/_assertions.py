"""What all checks share: assertions with a readable message, and comparisons of tensors bit for bit."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from framework._component import Component, build
from framework._errors import PluginError
from framework._store import Store
from framework.testing._tiny import TestRegistry, entry_of


def require(holds: bool, sentence: str) -> None:
    """Raise an AssertionError with that sentence unless it holds."""
    if not holds:
        raise AssertionError(sentence)


@contextmanager
def explained(sentence: str, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn whatever is raised into an AssertionError that begins with that sentence, but for these errors."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (AssertionError, *but)):
            raise
        raise AssertionError(f"{sentence}: {type(error).__name__}: {error}") from error


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw the same numbers from torch's global generator each time, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def component(kind: str, factory: Callable[..., Any], parameters: Mapping[str, Any]) -> tuple[str, Component]:
    """Validate a component as a spec's would be, and check what holds for every kind.

    Returns:
        What messages call it, such as ``stage 'Shrink'``, and itself.
    """
    entry = entry_of(kind, factory)
    subject, catalog = f"{kind} {entry.name!r}", TestRegistry(entry)
    require(_documented(factory), f"{subject} has no docstring: `framework plugins show` has nothing to say about it")
    try:
        with explained(f"{subject} cannot be made", but=(PluginError, ValidationError)):
            made = build(catalog, kind, {"name": entry.name, **parameters})
    except PluginError as error:
        raise AssertionError(str(error)) from error
    except ValidationError as error:
        wrong = "; ".join(": ".join([".".join(map(str, e["loc"])), e["msg"]]).lstrip(": ") for e in error.errors())
        raise AssertionError(f"{subject} does not take the parameters {dict(parameters)}: {wrong}") from error
    with explained(f"{subject}: its parameters do not survive as JSON: take and keep what YAML can write"):
        again = build(catalog, kind, json.loads(json.dumps(made.plain())))
    require(
        again.plain() == made.plain(),
        f"{subject}: its validated parameters {made.plain()} validate to others, {again.plain()}: "
        "a validator must leave alone what it has made",
    )
    moved = ", ".join(again.given.keys() - made.given.keys())
    require(
        not moved,
        f"{subject}: the default of {moved} counts as another value when it is written out, and so changes the key of "
        "every stage: give it in the form that its validated type has, such as a tuple instead of a list",
    )
    return subject, made


def _documented(factory: Callable[..., Any]) -> bool:
    doc = factory.__doc__ or ""
    # What the dataclass decorator writes by itself says nothing.
    generated = is_dataclass(factory) and doc.startswith(f"{factory.__name__}(")
    return bool(inspect.cleandoc(doc)) and not generated


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Draw normally distributed numbers, the same ones each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Save tensors in a stage store, and load them again."""
    with TemporaryDirectory() as folder:
        Store(folder).save("00", tensors, {})
        return Store(folder).load("00")[0]


def same(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors are the same, bit for bit."""
    return (a.dtype, a.shape) == (b.dtype, b.shape) and not bool(changed(a, b).any())


def changed(a: Tensor, b: Tensor) -> Tensor:
    """Mark the elements that differ in any bit: bool, of the tensors' shape."""
    one, other = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return (one != other).view(a.numel(), a.element_size()).any(1).view(a.shape)


def difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str:
    """Say how two states differ, in a few words; empty if they are the same, bit for bit."""
    for name in sorted(a.keys() ^ b.keys()):
        return f"{name} is only there {'the first' if name in a else 'the second'} time"
    for name in a:
        if (a[name].dtype, a[name].shape) != (b[name].dtype, b[name].shape):
            return f"{name} is {_dtype_and_shape(a[name])} and then {_dtype_and_shape(b[name])}"
        count = int(changed(a[name], b[name]).sum())
        if count:
            return f"{count} of {a[name].numel()} elements of {name} differ"
    return ""


def _dtype_and_shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
