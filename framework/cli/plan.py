"""``framework plan`` and ``framework validate``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from framework.cli.load import load_specs
from framework.executors import session
from framework.plan import TrialPlan, short


def show_plan(files: Sequence[Path], sets: Sequence[str], seeds: Sequence[int] | None) -> None:
    """Print the trials of the specs."""
    print_plans(session.plan_all(load_specs(files, sets, seeds)), Console())


def validate_specs(files: Sequence[Path], sets: Sequence[str], seeds: Sequence[int] | None) -> None:
    """Print what each valid spec amounts to; mistakes are raised."""
    planned = session.plan_all(load_specs(files, sets, seeds))
    for file, (name, plans) in zip(files, planned.items(), strict=True):
        print(f"{file}: {name} is valid: {_count(len(plans), 'trial')}, {_count(_epochs(plans), 'epoch')}")


def print_plans(planned: Mapping[str, Sequence[TrialPlan]], console: Console) -> None:
    """Print a table of trials for each spec, below what its trials have in common."""
    for name, plans in planned.items():
        first = plans[0]
        table = Table(
            title=f"{name}: {_count(len(plans), 'trial')}, {_count(_epochs(plans), 'epoch')}", title_justify="left"
        )
        for column in ("trial", "model", "data", "stages", "epochs", "resources"):
            table.add_column(column, overflow="fold", justify="right" if column == "epochs" else "left")
        for plan in plans:
            table.add_row(
                plan.name,
                short(plan.model["name"]),
                short(plan.data["dataset"]["name"]),
                " → ".join(_stage(stage) for stage in plan.stages),
                str(plan.epochs),
                " ".join(f"{k}={v}" for k, v in first.resources.items()),
            )
        console.print(table)
    trials = [plan for plans in planned.values() for plan in plans]
    console.print(f"{_count(len(trials), 'trial')}, {_count(_epochs(trials), 'epoch')} in all", highlight=False)


def _stage(stage: Mapping[str, object]) -> str:
    """A stage with the parameter that says most: how long, or how much."""
    for key in ("epochs", "steps", "amount", "fraction", "layers"):
        if stage.get(key) is not None:
            return f"{stage['name']}({key}={short(stage[key])})"
    return str(stage["name"])


def _epochs(plans: Sequence[TrialPlan]) -> int:
    return sum(plan.epochs for plan in plans)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
