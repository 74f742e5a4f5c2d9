"""Search spaces, expanded as Ray Tune does."""

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from framework._plan import Path


def expand(tree: Any, samples: int, seed: int) -> Iterable[tuple[Mapping[Path, Any], Any]]:
    """Expand a spec's search space as Ray Tune does: the whole grid, as often as there are samples."""
    state = np.random.RandomState(seed)
    space = _domains(tree)
    for _ in range(samples):
        for values, resolved in generate_variants(space, random_state=state):
            point = _native(resolved)
            # Looked up: what Ray says of a candidate still has the spaces in it that the candidate has.
            paths = [tuple(map(_own, path)) for path in values]
            yield {path: reduce(getitem, path, point) for path in paths}, point


def _domains(tree: Any) -> Any:
    """In Ray's terms, and without what Ray alone takes for a space: the text of ``{eval: …}`` it runs as Python."""
    if isinstance(tree, Mapping):
        if len(tree) == 1:
            [(name, arguments)] = tree.items()
            if name == "grid_search":
                return {"grid_search": _Whole(map(_domains, arguments))}
            if name == "choice":
                return tune.choice([_domains(a) for a in arguments])
            if name in ("uniform", "loguniform", "randint"):
                return getattr(tune, name)(*arguments)
            if name == "eval":
                return {_EVAL: _domains(arguments)}
        return {key: _domains(value) for key, value in tree.items()}
    return [_domains(value) for value in tree] if isinstance(tree, list) else tree


class _Key(str):
    """A spec's key by a name that means nothing to Ray."""


_EVAL = _Key("a spec's eval")


class _Whole(list[Any]):
    """Candidates, which nobody changes: Ray would copy all of them for every point."""

    def __deepcopy__(self, memo: Any) -> "_Whole":
        return self


def _own(key: Any) -> Any:
    return "eval" if isinstance(key, _Key) else key


def _native(value: Any) -> Any:
    """With a spec's own keys, and without numpy's number types, which the samplers return."""
    if isinstance(value, Mapping):
        return {_own(key): _native(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_native(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
