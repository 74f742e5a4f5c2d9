"""Nested structures, such as an optimizer's state, as flat tensors and plain JSON, and back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PLAIN = (type(None), bool, int, float, str)


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Take a structure apart.

    Args:
        tree: dicts with str or int keys, lists, tuples, None, bool, int, float, str and tensors, nested in any way.
            Other kinds of dict come back as plain ones; other subclasses are refused, as they would not come back.

    Returns:
        The tensors (the same ones, each as often as it occurs) by their path, and JSON for the rest.

    Raises:
        TypeError: there is anything else in it; the text names its path.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(tree, "", tensors)


def unpack(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """Put a structure together again that :func:`pack` has taken apart."""
    if type(tree) is list:
        return [unpack(tensors, item) for item in tree]
    if type(tree) is not dict:
        return tree
    ((kind, value),) = tree.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "tuple":
        return tuple(unpack(tensors, item) for item in value)
    return {key: unpack(tensors, item) for key, item in value}


def _pack(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Take a structure apart: scalars and lists stay what they are, all else is an object whose one key is its kind."""
    if type(tree) in _PLAIN:
        return tree
    if isinstance(tree, Tensor):
        while path in tensors:  # the keys "1" and 1 have the same path
            path += "'"
        tensors[path] = tree
        return {"tensor": path}
    if type(tree) in (list, tuple):
        items = [_pack(item, _join(path, index), tensors) for index, item in enumerate(tree)]
        return items if type(tree) is list else {"tuple": items}
    if isinstance(tree, dict):  # state dicts are ordered ones; they come back plain
        return {"dict": [[_key(key, path), _pack(item, _join(path, key), tensors)] for key, item in tree.items()]}
    raise TypeError(f"{path or 'the whole'} is a {type(tree).__name__}, which cannot be stored")


def _key(key: Any, path: str) -> str | int:
    if type(key) not in (str, int):
        raise TypeError(f"a key of {path or 'the whole'} is a {type(key).__name__}: only str and int can be stored")
    return key  # type: ignore[no-any-return]


def _join(path: str, step: Any) -> str:
    return f"{path}.{step}" if path else str(step)
