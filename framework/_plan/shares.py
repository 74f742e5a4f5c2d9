"""How a machine's cores are shared among the stages that can run at the same time."""

from collections.abc import Iterable
from dataclasses import replace

from framework._plan.splits import COURSE, SplitStages
from framework._plan.tree import make_tree
from framework._plan.trial_plan import TrialPlan
from framework._spec import AUTO


class Shares:
    """Gives each branch of the stage tree an equal share of a machine, and a stage the shares of all that wait for it.

    Stages that can run at the same time lie on different branches, so together they get no more than the machine
    has. A stage that is split (see `framework._plan.splits`) uses as many threads in all trials that share it, and a
    trial that has nothing to train after a split takes no share there. What is finished or stored counts too: a run
    that is continued uses as many threads as before, which its results depend on in the last digits.

    Args:
        plans: all trials of the run.
        coming: how many more will be suggested; nobody knows what these share.

    Attributes:
        branches: how many trials can run at the same time at most.
    """

    def __init__(self, plans: Iterable[TrialPlan], coming: int = 0) -> None:
        tree = make_tree(SplitStages()(plans))
        branches: dict[str, int] = {}
        self._shares: dict[str, int] = {}  # by stage key; by course, of the longest stage when all others have left it
        for node in reversed(tree.nodes.values()):  # what follows first
            branches[node.key] = sum(branches[child] for child in node.children) or 1
            busy = sum(self._shares[child] for child in node.children)
            done = node.parent is not None and tree.nodes[node.parent].index == node.index  # by the split before
            self._shares[node.key] = busy or (0 if done and node.split is None and not node.children else 1)
            if node.split is not None:
                self._shares.setdefault(node.key[:COURSE], self._shares[node.key])
        self.branches = sum(branches[root.key] for root in tree.roots) + coming
        self._all = sum(self._shares[root.key] for root in tree.roots) + coming

    def settle(self, plan: TrialPlan, cores: int, least: float) -> TrialPlan:
        """Fix how many threads each stage of a trial uses.

        Args:
            plan: the trial.
            cores: of the machine that it runs on.
            least: how many of these are the trial's own.

        Returns:
            The trial with its `TrialPlan.threads`: those that its spec says, or as many as its ``cpu``, or what
            ``auto`` comes to.
        """
        given, stages = plan.resources["threads"], len(plan.stages)
        own = max(1, int(least))
        if given != AUTO:
            threads = (*given, *[given[-1]] * stages)[:stages]
        elif plan.resources["cpu"] != AUTO:
            threads = (own,) * stages
        else:
            threads = tuple(max(own, cores * share // self._all) for share in self._of(plan))
        return replace(plan, threads=threads)

    def _of(self, plan: TrialPlan) -> list[int]:
        """How many shares each stage of a trial has."""
        courses = [length.course if length else "" for length in plan.lengths] or [""] * len(plan.stages)
        found = zip(courses, plan.keys[1:], strict=True)
        return [self._shares.get(course, self._shares.get(key, 0)) for course, key in found]
