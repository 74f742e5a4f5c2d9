"""Short names for what differs between trials, and its values in few words."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
_LONGEST = 14


def short(value: Any) -> str:
    """A swept value in as few words as tell it apart: a component as ``name(parameter=value)``."""
    if isinstance(value, Mapping):
        if len(value) == 1 and "name" not in value:  # a stage
            [(name, value)] = value.items()
            if value is None:
                return str(name)
            if not isinstance(value, Mapping):
                return f"{name}={short(value)}"
        else:
            name = value.get("name", "")
        given = ", ".join(f"{k}={short(v)}" for k, v in value.items() if k != "name")
        return f"{name}({given})" if given and name else f"{name}{given}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(short, value)) + "]"
    # Numbers that somebody wrote are short; those that were drawn need not be told to the last digit.
    return f"{value:.4g}" if isinstance(value, float) and len(repr(value)) > _LONGEST else str(value)


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All values in a resolved part of a plan, by path; a component's name stands at its own, its parameters below."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, path if key == "name" else f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """The shortest name for each swept value: ``prune.amount``, or ``stages.1.prune.amount`` where that is taken."""
    full = {path: ".".join(map(str, path)) for path in sorted(paths, key=str)}
    brief = {
        path: ".".join(part for part in path if isinstance(part, str) and part not in _SCAFFOLD) or full[path]
        for path in full
    }
    uses = Counter(brief.values())
    return {path: brief[path] if uses[brief[path]] == 1 else full[path] for path in full}


_SCAFFOLD = ("stages", "defaults", "repeat")


def common(values: Sequence[Any]) -> Mapping[str, Any]:
    """What mappings that are swept over all say alike."""
    if not all(isinstance(value, Mapping) for value in values):
        return {}
    return {k: v for k, v in values[0].items() if all(k in value and value[k] == v for value in values)}


def by_name(path: Path, name: str, value: Any, common: Mapping[str, Any]) -> dict[str, Any]:
    """A swept value by its name; of several settings of a component or stage, only what sets them apart."""
    settings = "name" in common or (isinstance(value, Mapping) and "name" not in value and isinstance(path[-1], str))
    if not settings or value == common:
        return {name: value}
    return {f"{name}.{k}": v for k, v in value.items() if k not in common}
