"""Which defaults a spec's stages use."""

from framework._component import unknown
from framework._errors import Problem
from framework._spec import space
from framework._spec.checks import mapping_or_null, stage_list
from framework._spec.node import HOLE, Node, Path
from framework._spec.resolve import Resolver, with_defaults


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
    uses = _uses(root, resolver)
    before = _uses(written, resolver) if written is not root else uses
    for defaults in space.alternatives(root.value.get("defaults")):
        if not mapping_or_null(defaults, "stages and their parameters", found) or not defaults.value:
            continue
        for stage, params in defaults.value.items():
            mark = defaults.keys.get(stage, params.mark)
            if not resolver.may_be_stage(stage):
                found.append(defaults.key_problem(stage, unknown(resolver.catalog, "stage", stage)))
                continue
            alternatives = [a for a in space.alternatives(params) if mapping_or_null(a, "parameters", found)]
            if uses is None or (mark.line and mark.file != file):
                continue
            reached = uses | (before or set())
            if (stage,) not in reached:
                found.append(defaults.key_problem(stage, f"no variant has a stage {stage!r}"))
            else:
                leaves = (leaf for a in alternatives for child in a.children() for leaf in _unreached(child, reached))
                found.extend(_unused(leaf, stage) for leaf in leaves if not leaf.mark.line or leaf.mark.file == file)


def _unused(leaf: Node, stage: str) -> Problem:
    if leaf.path[-1] == "name" and leaf.path[-2] == stage:
        return leaf.problem(f"stage {stage!r} has no parameter 'name'")
    return leaf.problem(f"no variant uses this: every stage {stage!r} gives its own")


def _unreached(node: Node, used: set[Path]) -> list[Node]:
    """The largest values inside that are not used."""
    children = list(node.children())
    if not children or node.space in space.RANGES:
        return [] if node.path in used or any(c.path in used for n in children for c in n.walk()) else [node]
    inside = [_unreached(child, used) for child in children]
    if all(leaves == [child] for leaves, child in zip(inside, children, strict=True)):
        return [node]
    return [leaf for leaves in inside for leaf in leaves]


def _uses(root: Node, resolver: Resolver) -> set[Path] | None:
    """The names of all stages, as paths, and the paths of all defaults that end up in them.

    Returns:
        None if some stages cannot be told.
    """
    uses: set[Path] = set()
    found: list[Problem] = []
    for point in space.points(root):
        for item in stage_list(point.value.get("stages"), found):
            if item.value is HOLE:
                return None
            for stage in {id(stage): stage for stage in resolver.flatten(item, found)}.values():
                uses.add((stage.name,))
                merged = with_defaults(stage, point.value.get("defaults"))
                uses.update(node.path for node in merged.walk() if node.path[:1] == ("defaults",))
    return None if found else uses
