"""Why two trials do not share more than they do."""

from collections.abc import Iterator, Mapping
from typing import Any

from framework._component import Catalog, build
from framework._plan import Length, Path, TrialPlan, short


def shared_states(one: TrialPlan, other: TrialPlan) -> int:
    """How many states two trials share: 0 none, 1 the initial network, 2 also that after the first stage, and so on."""
    equal = [a == b for a, b in zip(one.keys, other.keys, strict=False)]
    return [*equal, False].index(False)


def split_between(one: TrialPlan, other: TrialPlan, states: int) -> Length | None:
    """Where the next stage is split of two trials that share so many states, as it differs in length only."""
    lengths = [plan.lengths[states - 1] if 0 < states <= len(plan.lengths) else None for plan in (one, other)]
    a, b = lengths
    return min(a, b, key=lambda length: length.value) if a and b and a.course == b.course else None


def explain(one: TrialPlan, other: TrialPlan, catalog: Catalog) -> list[str]:
    """What differs in what the keys of two trials cover, one line each: ``stages.1 prune: amount 0.2 ≠ 0.3``.

    Args:
        one: a trial.
        other: another trial.
        catalog: where their components are looked up.
    """
    lines = [f"seed: {one.seed} ≠ {other.seed}"] if one.seed != other.seed else []
    catalogs = catalog.with_code(one.code), catalog.with_code(other.code)
    origins = [dict(zip(plan.plugins, plan.origins, strict=False)) for plan in (one, other)]
    lines += [f"{file}: its code" for file in origins[0] if origins[0][file] != origins[1].get(file, origins[0][file])]
    lines += _part("model", one.model, other.model, catalogs)
    lines += _part("data", one.data, other.data, catalogs)
    lines += [f"metrics: {_listed(one)} ≠ {_listed(other)}"] if _listed(one) != _listed(other) else []
    if len(one.stages) != len(other.stages):
        lines.append(f"number of stages: {len(one.stages)} ≠ {len(other.stages)}")
    for index, (a, b) in enumerate(zip(one.stages, other.stages, strict=False)):
        lines += _part(f"stages.{index}", a, b, catalogs)
        went = [plan.went_back[index : index + 1] for plan in (one, other)]
        if a["name"] == b["name"] and went[0] != went[1]:
            after = " ≠ ".join(", ".join(map(str, *counts)) for counts in went)
            lines.append(f"stages.{index} {a['name']}: back to the state after {after} stages")
    return lines


def _listed(plan: TrialPlan) -> str:
    return short([{**metric, "as": name} for name, metric in plan.metrics.items()])


def _part(where: str, one: Mapping[str, Any], other: Mapping[str, Any], catalogs: tuple[Catalog, Catalog]) -> list[str]:
    found = list(_differences((), one, other))
    if not found:
        return []
    # Parameters that are written differently may still mean the same: a file and its copy.
    identities = _identity(where, one, catalogs[0]), _identity(where, other, catalogs[1])
    found = [(path, a, b) for path, a, b in found if _at(identities[0], path) != _at(identities[1], path)]
    names = {part.get("name", part.get("dataset", {}).get("name")) for part in (one, other)}
    owner = f"{where} {names.pop()}" if len(names) == 1 else where
    return [f"{owner}: {_told('.'.join(map(str, path)), a, b)}" for path, a, b in found]


def _differences(path: Path, one: Any, other: Any) -> Iterator[tuple[Path, Any, Any]]:
    """Where two resolved values differ, down to the parameters of components that have one name."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.get("name") == other.get("name"):
        for key in {**one, **other}:
            yield from _differences((*path, key), one.get(key), other.get(key))
    elif one != other:
        yield path, one, other


def _identity(where: str, part: Mapping[str, Any], catalog: Catalog) -> Mapping[str, Any]:
    if where == "data":
        return {**part, "dataset": _identity("dataset", part["dataset"], catalog)}
    kind = where if where in ("model", "dataset") else "stage"
    return build(catalog, kind, part).plain(identity=True)


def _at(tree: Any, path: Path) -> Any:
    """The value at a path; None where the tree leaves it out, as a default."""
    for step in path:
        tree = tree.get(step) if isinstance(tree, Mapping) else None
    return tree


def _told(name: str, one: Any, other: Any) -> str:
    """Two components by their names, other values in few words, as far as these differ."""
    if all(isinstance(value, Mapping) and "name" in value for value in (one, other)):
        values = [str(value["name"]) for value in (one, other)]
    else:
        values = [short(value) for value in (one, other)]
        if values[0] == values[1]:
            values = [repr(value) for value in (one, other)]
    return f"{name} {' ≠ '.join(values)}".lstrip()
