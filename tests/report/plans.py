"""A trial that is made up, for what is drawn and told of trials."""

from dataclasses import replace
from typing import Any

from framework._plan import TrialPlan


def make_plan(*stages: str, **fields: Any) -> TrialPlan:
    plan = TrialPlan(
        experiment="unprune",
        swept={"prune.amount": 0.2},
        seed=1,
        model={"name": "convnet"},
        data={"dataset": {"name": "digits"}, "validation": 0.1, "augment": []},
        stages=tuple({"name": name} for name in stages),
        resources={"cpu": 1, "gpu": "auto"},
        keys=("initial", "key"),
        stage_epochs=(4,),
    )
    return replace(plan, **fields)
