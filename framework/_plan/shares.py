"""How a machine's cores are shared among the stages that can run at the same time."""

from collections.abc import Iterable
from dataclasses import replace

from framework._plan.tree import make_tree
from framework._plan.trial_plan import TrialPlan
from framework._spec import AUTO


class Shares:
    """Gives each branch of the stage tree an equal share of a machine, and a stage the shares of all that wait for it.

    Stages that can run at the same time lie on different branches, so together they get no more than the machine
    has. What is finished or stored counts too: a run that is continued uses as many threads as before, which its
    results depend on in the last digits.

    Args:
        plans: all trials of the run.
        coming: how many more will be suggested; nobody knows what these share.

    Attributes:
        branches: how many trials can run at the same time at most.
    """

    def __init__(self, plans: Iterable[TrialPlan], coming: int = 0) -> None:
        tree = make_tree(plans)
        self._branches: dict[str, int] = {}  # by stage key, how many lead through that stage
        for node in reversed(tree.nodes.values()):  # what follows first
            self._branches[node.key] = sum(self._branches[child] for child in node.children) or 1
        self.branches = sum(self._branches[root.key] for root in tree.roots) + coming

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
            threads = tuple(max(own, cores * self._branches.get(key, 0) // self.branches) for key in plan.keys[1:])
        return replace(plan, threads=threads)
