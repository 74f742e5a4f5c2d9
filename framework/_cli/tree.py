"""Draws a stage tree."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from rich.text import Text
from rich.tree import Tree

from framework._plan import TrialPlan, flat, short
from framework._plan.tree import Node, StageTree

_WIDE = 20  # most branches of a node
_ROOM = 80  # about how many lines of trials in all
_TELLING = ("steps", "amount", "fraction", "layers")


def draw(plans: Sequence[TrialPlan], tree: StageTree, stored: Collection[str], *, whole: bool) -> Iterator[Tree]:
    """A drawing for each initial network; one for several seeds with the same trials.

    Args:
        plans: the trials.
        tree: the same, merged.
        stored: the keys of the states that are stored.
        whole: leave nothing out.
    """
    drawing = _Drawing(plans, tree, stored, whole)
    groups = _groups(plans)
    told = _apart([_root(group) for group in groups])
    room = max(_ROOM // len(groups), 1) if groups else 0
    for group, apart in islice(zip(groups, told, strict=True), None if whole else _WIDE):
        yield drawing.root(group, apart, room)
    if not whole and len(groups) > _WIDE:
        yield Tree(Text(f"… {len(groups) - _WIDE:,} more", "dim"))


@dataclass
class _Group:
    """Trials of one model and data, once for each seed."""

    seeds: list[int]
    plans: list[list[TrialPlan]]


def _groups(plans: Sequence[TrialPlan]) -> list[_Group]:
    roots: dict[str, list[TrialPlan]] = {}
    for plan in plans:
        roots.setdefault(plan.keys[0], []).append(plan)
    groups: list[_Group] = []
    alike: dict[tuple[Any, ...], list[_Group]] = {}
    for trials in roots.values():
        candidates = alike.setdefault((len(trials), trials[0].experiment, trials[0].variant), [])
        for group in candidates:
            if all(_same(a, b) for a, b in zip(trials, group.plans[0], strict=True)):
                group.seeds.append(trials[0].seed)
                group.plans.append(trials)
                break
        else:
            candidates.append(_Group([trials[0].seed], [trials]))
            groups.append(candidates[-1])
    return groups


def _same(one: TrialPlan, other: TrialPlan) -> bool:
    """Whether two trials are replicates."""
    return (one.experiment, one.variant, one.model, one.data, one.stages) == (
        other.experiment,
        other.variant,
        other.model,
        other.data,
        other.stages,
    )


def _root(group: _Group) -> Mapping[str, Any]:
    plan = group.plans[0][0]
    names = f"{plan.model['name']} on {plan.data['dataset']['name']}"
    return {"name": names, "model": plan.model, "data": plan.data}


class _Drawing:
    def __init__(self, plans: Sequence[TrialPlan], tree: StageTree, stored: Collection[str], whole: bool) -> None:
        self.nodes, self.stored, self.whole = tree.nodes, frozenset(stored), whole
        # How many trials go through each state.
        self.passing = Counter(key for plan in plans for key in (plan.keys[0], *plan.path))
        self.variants = {(plan.experiment, plan.name): plan.variant for plan in plans}
        self.replicates: dict[str, dict[int, str]] = {}  # by state, and by the place of their seeds

    def root(self, group: _Group, apart: str, room: int) -> Tree:
        first = group.plans[0]
        for number, trials in enumerate(group.plans):
            for plan, other in zip(first, trials, strict=True):
                theirs = _places(other)
                for place, key in _places(plan).items():
                    # Of a length that is known from the store, not all may be split there.
                    self.replicates.setdefault(key, {})[number] = theirs.get(place, "")
        label = Text.assemble((_root(group)["name"] + apart, "bold"), f"; {_seeds(group.seeds)}")
        node = self.nodes[first[0].keys[0]]
        branch = Tree(self._marked(label, node), guide_style="dim")
        self._add(branch, node, room)
        return branch

    def _add(self, branch: Tree, node: Node, room: int) -> None:
        children = self._following(node)
        shown = len(children) if self.whole else min(len(children), _WIDE, max(room, 1))
        if len(children) - shown == 1:
            shown += 1
        told = self._told(children)
        for child in children[:shown]:
            label = self._stage(child, told)
            # A line goes on up to where the tree branches or a trial ends.
            while len(following := self._following(child)) == 1 and not self._ending(child):
                [child] = following
                label.append(" → ").append(self._stage(child, self._told(following)))
            if ending := self._ending(child):
                label.append("  ⇒ ").append(", ".join(ending), "cyan")
            self._add(branch.add(label), child, room // shown)
        if len(children) > shown:
            trials = sum(self.passing[child.key] for child in children[shown:])
            more = len(children) - shown
            branch.add(Text(f"… {more:,} more{f' with {trials:,} trials' if trials > more else ''}", "dim"))

    def _end(self, node: Node) -> Node | None:
        """The end of the stage that is split here, for those trials that don't go on."""
        children = [self.nodes[key] for key in node.children] if node.split else []
        return next((child for child in children if child.index == node.index and child.split is None), None)

    def _following(self, node: Node) -> list[Node]:
        """What is drawn below a state: an end is drawn as one with the split where it is."""
        end, found = self._end(node), list[Node]()
        for child in map(self.nodes.__getitem__, node.children):
            found += map(self.nodes.__getitem__, child.children) if child is end else [child]
        return found

    def _goes_on(self, node: Node) -> bool:
        return node.split is not None and node.parent is not None and self.nodes[node.parent].index == node.index

    def _told(self, children: Sequence[Node]) -> Mapping[str, str]:
        """What tells each from its siblings, by their keys."""
        beginning = [child for child in children if not self._goes_on(child)]
        return {c.key: apart for c, apart in zip(beginning, _apart([c.stage or {} for c in beginning]), strict=True)}

    def _stage(self, node: Node, told: Mapping[str, str]) -> Text:
        text = Text((node.stage or {})["name"])
        if node.split is not None and self._goes_on(node):
            text.append(" on to").append(f" {node.split.length:,} {node.split.unit}", "dim")
        else:
            text.append(told[node.key])
            if node.epochs:
                text.append(f" {node.epochs:,} {'epoch' if node.epochs == 1 else 'epochs'}", "dim")
        return self._marked(text, node)

    def _marked(self, text: Text, node: Node) -> Text:
        replicates, end = self.replicates[node.key], self._end(node)
        ends = self.replicates[end.key] if end else {}
        stored = sum(not self.stored.isdisjoint({key, ends.get(seed, key)}) for seed, key in replicates.items())
        if stored:
            text.append(" stored" if stored == len(replicates) else f" stored {stored}/{len(replicates)}", "green")
        return text

    def _ending(self, node: Node) -> list[str]:
        end = self._end(node)
        trials = [*node.trials, *(end.trials if end else ())]
        return [f"{trial[0]} {self.variants[trial]}".strip() for trial in trials]


def _places(plan: TrialPlan) -> dict[tuple[int, int | None], str]:
    """The keys of a trial's states by their places, equal in replicates: the stage, and at a split the length."""
    found: dict[tuple[int, int | None], str] = {(-1, None): plan.keys[0]}
    for index, key in enumerate(plan.keys[1:]):
        found |= {(index, split.length): split.key for split in plan.splits_of(index)}
        found[index, None] = key
    return found


def _apart(siblings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters that tell each component from others of its name; if there are none, the most telling one."""
    named: dict[str, list[dict[str, Any]]] = {}
    parameters = [dict(flat(sibling)) for sibling in siblings]
    for one in parameters:
        named.setdefault(one[""], []).append(one)
    keys = {name: _differing(ones) for name, ones in named.items()}
    told = []
    for one in parameters:
        if len(named[one[""]]) == 1:
            chosen = [k for k in _TELLING if one.get(k) is not None and (k, one[k]) != ("fraction", 1.0)][:1]
        else:
            chosen = [key for key in keys[one[""]] if key in one and key != "epochs"]
        told.append("".join(f" {key}={short(one[key])}" for key in chosen))
    return told


def _differing(ones: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the values differ: what all have, if that is enough."""
    first = {key: None for one in ones for key in one}
    differing = [key for key in first if any(one.get(key, ...) != ones[0].get(key, ...) for one in ones)]
    common = [key for key in differing if all(key in one for one in ones)]
    enough = len({tuple(repr(one[key]) for key in common) for one in ones}) == len(ones)
    return common if enough else differing


def _seeds(seeds: Sequence[int]) -> str:
    """Three and more in a row as ``0–9``."""
    runs = [[seed for _, seed in run] for _, run in groupby(enumerate(seeds), lambda pair: pair[1] - pair[0])]
    parts = [f"{run[0]}–{run[-1]}" if len(run) > 3 else ", ".join(map(str, run)) for run in runs]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(parts)}"
