"""Which defaults a spec's stages use."""

from collections.abc import Iterator

from framework.errors import Problem, nearest
from framework.spec import space
from framework.spec.node import Node, Path
from framework.spec.resolve import Resolver, mapping_or_null, stage_list, with_defaults


def check_defaults(root: Node, written: Node, file: str, resolver: Resolver, found: list[Problem]) -> None:
    """Report defaults that no variant uses.

    What a base gives need not be of use to every spec that extends it, nor what the file gives after ``--set``.

    Args:
        root: the spec.
        written: the spec before any ``--set``.
        file: where the spec is from, as its marks say.
        resolver: knows the stages.
        found: takes the mistakes.
    """
    used, present = _uses(root, resolver)
    used_before, present_before = _uses(written, resolver)
    names = resolver.catalog.names("stage")
    for defaults in _alternatives(root.value.get("defaults")):
        if not mapping_or_null(defaults, "defaults", found) or not defaults.value:
            continue
        for stage, params in defaults.value.items():
            key = defaults.keys.get(stage, params.mark)
            if stage not in names:
                found.append(defaults.key_problem(stage, f"unknown stage {stage!r} ({nearest(stage, names)})"))
            elif key.line and key.file != file:
                continue
            elif stage not in present | present_before:
                found.append(defaults.key_problem(stage, f"no variant has a stage {stage!r}"))
            else:
                found.extend(_unused(params, stage, used | used_before, file, found))


def _unused(params: Node, stage: str, used: set[Path], file: str, found: list[Problem]) -> Iterator[Problem]:
    for alternative in _alternatives(params):
        if not mapping_or_null(alternative, f"the parameters of {stage!r}", found):
            continue
        for node in (leaf for child in alternative.children() for leaf in _unreached(child, used)):
            if not node.mark.line or node.mark.file == file:
                yield node.problem(f"no variant uses this: every stage {stage!r} gives its own")


def _alternatives(node: Node | None) -> list[Node]:
    if node is None:
        return []
    return [a for c in space.candidates(node) for a in _alternatives(c)] if node.space else [node]


def _unreached(node: Node, used: set[Path]) -> list[Node]:
    """The largest values inside that are not used."""
    children = list(node.children())
    if not children or node.space in space.RANGES:
        return [] if node.path in used or any(c.path in used for n in children for c in n.walk()) else [node]
    inside = [_unreached(child, used) for child in children]
    if all(found == [child] for found, child in zip(inside, children, strict=True)):
        return [node]
    return [leaf for leaves in inside for leaf in leaves]


def _uses(root: Node, resolver: Resolver) -> tuple[set[Path], set[str]]:
    """The paths of all defaults that end up in a stage, and the names of all stages."""
    used: set[Path] = set()
    present: set[str] = set()
    for point in space.points(root):
        for item in stage_list(point.value.get("stages"), []):
            for stage in resolver.flatten(item, []):
                present.add(stage.name)
                merged = with_defaults(stage, point.value.get("defaults"))
                used.update(node.path for node in merged.walk() if node.path[:1] == ("defaults",))
    return used, present
