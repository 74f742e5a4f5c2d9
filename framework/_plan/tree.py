"""The stage tree: what many trials have in common, once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from framework._plan.trial_plan import Split, TrialPlan


@dataclass(slots=True)
class Node:
    """A state of a network, and the stage, or the part of one, that leads to it.

    Attributes:
        key: the stage key, or that of a split.
        parent: the key of the state before; None for an initial network.
        index: the stage's place in its trials; -1 for an initial network.
        stage: the resolved stage: its name and every parameter; None for an initial network.
        epochs: how many epochs are trained since the state before, as far as known beforehand.
        children: the keys of the states that follow, in the order of the plans.
        trials: experiment and name of the trials that end here.
        split: if the state is one within the stage.
    """

    key: str
    parent: str | None
    index: int
    stage: Mapping[str, Any] | None
    epochs: int
    children: list[str] = field(default_factory=list)
    trials: list[tuple[str, str]] = field(default_factory=list)
    split: Split | None = None


@dataclass(frozen=True)
class StageTree:
    """All trials of some specs, merged by stage key; see `make_tree`.

    Attributes:
        nodes: by key, every state after those that lead to it.
        naive_stages: how many stages the trials execute if each executes all of its own.
        naive_epochs: how many epochs these train.
    """

    nodes: dict[str, Node]
    naive_stages: int
    naive_epochs: int

    @property
    def roots(self) -> list[Node]:
        """The initial networks."""
        return [node for node in self.nodes.values() if node.parent is None]

    @property
    def shared_stages(self) -> int:
        """How many stages there are to execute if each is executed once."""
        return self.remaining(())[0]

    @property
    def shared_epochs(self) -> int:
        """How many epochs these train."""
        return self.remaining(())[1]

    def remaining(self, stored: Collection[str]) -> tuple[int, int]:
        """What is still to be executed, as every trial starts from its last state that is stored.

        Args:
            stored: the keys of the states that are stored.

        Returns:
            How many stages, and how many epochs these train.
        """
        stored = frozenset(stored)
        needed: set[str] = set()
        stages = epochs = 0
        for node in reversed(self.nodes.values()):  # what follows first
            if node.key in stored or not (node.trials or any(child in needed for child in node.children)):
                continue
            needed.add(node.key)
            if node.parent is not None:
                stages += node.split is None
                epochs += node.epochs
        return stages, epochs


def make_tree(plans: Iterable[TrialPlan]) -> StageTree:
    """Merge trials, of however many specs, by their stage keys and splits."""
    nodes: dict[str, Node] = {}
    stages = epochs = 0
    for plan in plans:
        stages += len(plan.stages)
        epochs += plan.epochs
        parent = _node(nodes, plan.keys[0], None, -1, None, 0)
        for index, key in enumerate(plan.keys[1:]):
            if key in nodes:  # and so is what leads to it
                parent = nodes[key]
                continue
            stage, done = plan.stages[index], 0
            for split in plan.splits_of(index):
                part = {**stage, split.unit: split.length}
                parent = _node(nodes, split.key, parent, index, part, split.epochs - done, split)
                done = split.epochs
            parent = _node(nodes, key, parent, index, stage, plan.stage_epochs[index] - done)
        parent.trials.append((plan.experiment, plan.name))
    return StageTree(nodes, stages, epochs)


def _node(
    nodes: dict[str, Node],
    key: str,
    parent: Node | None,
    index: int,
    stage: Mapping[str, Any] | None,
    epochs: int,
    split: Split | None = None,
) -> Node:
    node = nodes.get(key)
    if node is None:
        node = nodes[key] = Node(key, parent.key if parent else None, index, stage, epochs, split=split)
        if parent:
            parent.children.append(key)
    return node
