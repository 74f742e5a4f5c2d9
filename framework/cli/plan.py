"""``framework plan`` and ``framework validate``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from framework.cli.load import load_specs
from framework.cli.view import make_console
from framework.executors import session
from framework.plan import TrialPlan, short


def show_plan(files: Sequence[Path], sets: Sequence[str], seeds: Sequence[int] | None) -> None:
    """Print the trials of the specs."""
    print_plans(session.plan_all(load_specs(files, sets, seeds)), make_console())


def validate_specs(files: Sequence[Path], sets: Sequence[str], seeds: Sequence[int] | None) -> None:
    """Print what each valid spec amounts to; mistakes are raised."""
    planned = session.plan_all(load_specs(files, sets, seeds))
    for file, (name, plans) in zip(files, planned.items(), strict=True):
        print(f"{file}: {name} is valid: {_count(len(plans), 'trial')}, {_count(_epochs(plans), 'epoch')}")


def print_plans(planned: Mapping[str, Sequence[TrialPlan]], console: Console) -> None:
    """Print the variants of each spec, with their seeds, epochs and stages."""

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    for name, plans in planned.items():
        line(f"{name}: {_count(len(plans), 'trial')}, {_count(_epochs(plans), 'epoch')}", "bold")
        by_variant: dict[str, list[TrialPlan]] = {}
        for plan in plans:
            by_variant.setdefault(str(plan.swept), []).append(plan)
        for replicates in by_variant.values():
            plan = replicates[0]
            seeds = ", ".join(str(replicate.seed) for replicate in replicates)
            resources = " ".join(f"{k}={v}" for k, v in plan.resources.items())
            line(f"  {plan.variant or 'one variant'}; seeds {seeds}; {_count(plan.epochs, 'epoch')} each; {resources}")
            stages = " → ".join(_stage(stage) for stage in plan.stages)
            line(f"    {plan.model['name']} on {plan.data['dataset']['name']}: {stages}")
    trials = [plan for plans in planned.values() for plan in plans]
    line(f"{_count(len(trials), 'trial')}, {_count(_epochs(trials), 'epoch')} in all")


def _stage(stage: Mapping[str, object]) -> str:
    """A stage with the parameter that says most: how long, or how much."""
    for key in ("epochs", "steps", "amount", "fraction", "layers"):
        if stage.get(key) is not None and (key, stage[key]) != ("fraction", 1.0):
            return f"{stage['name']}({key}={short(stage[key])})"
    return str(stage["name"])


def _epochs(plans: Sequence[TrialPlan]) -> int:
    return sum(plan.epochs for plan in plans)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
