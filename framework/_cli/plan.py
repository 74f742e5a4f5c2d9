"""``framework plan`` and ``framework validate``."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from framework._cli.store import readable
from framework._cli.tree import draw
from framework._component import Catalog
from framework._errors import Problem, SpecError, nearest
from framework._executors import session
from framework._executors.estimate import Estimator
from framework._executors.pace import CPU
from framework._plan import SplitStages, TrialPlan, make_plans
from framework._plan.explain import explain, shared_states, split_between
from framework._plan.tree import make_tree
from framework._registry import Registry
from framework._spec import AUTO, RESOURCES, ExperimentSpec, load_specs
from framework._store import Store
from framework._terminal.console import count, duration, make_console, say

_MANY = 10_000  # stages of all trials of a spec
_SAMPLE = 1_000
Planned = Mapping[str, Sequence[TrialPlan]]


def show_plan(
    files: Sequence[Path],
    sets: Sequence[str],
    seeds: Sequence[int] | None,
    registry: Registry,
    *,
    max_trials: int | None,
    store: str,
    whole: bool,
    pair: tuple[str, str] | None,
    at_once: Sequence[int],
) -> None:
    """Print the stage tree of the specs, or why two of their trials do not share more.

    Args:
        max_trials: the most that a spec may mean; None: as many as may be without more said.
        store: where stages may be stored already.
        whole: leave nothing out.
        pair: the names of the two trials.
        at_once: for how many trials at once the time left is told; empty: as many as fit on this machine.
    """
    specs = load_specs(files, sets, seeds, registry, max_trials)
    if pair:
        print_explanation(session.plan_all(specs), *pair, registry)
    else:
        found = Store(store)
        print_plans(specs, session.plan_all(specs), make_console(), found.stored(), found, whole=whole, at_once=at_once)


def validate_specs(
    files: Sequence[Path],
    sets: Sequence[str],
    seeds: Sequence[int] | None,
    registry: Registry,
    max_trials: int | None,
) -> None:
    """Print what each valid spec amounts to; mistakes are raised."""
    specs = load_specs(files, sets, seeds, registry, max_trials)
    many = [spec for spec in specs if spec.most_trials * spec.most_stages > _MANY and not spec.search.suggests]
    planned = session.plan_all([spec for spec in specs if spec not in many])
    for spec in many:  # a sample tells whether values go together, and all of them would take minutes
        make_plans(replace(spec, seeds=spec.seeds[:1]), session.expander([spec]), max(1, _SAMPLE // spec.most_stages))
    for spec in specs:
        amount = _amount(spec, planned[spec.name]) if spec not in many else f"up to {count(spec.most_trials, 'trial')}"
        print(f"{spec.file}: {spec.name} is valid: {amount}")


def print_plans(
    specs: Sequence[ExperimentSpec],
    planned: Planned,
    console: Console,
    stored: Collection[str],
    store: Store,
    *,
    whole: bool = False,
    at_once: Sequence[int] = (),
) -> None:
    """Draw the stage tree of all specs, and sum up what it saves, what is still to run and what that will take.

    Args:
        specs: the specs; of those whose trials are suggested on the way, it only says how many these may be.
        planned: the trials of each spec, by its name.
        console: where to.
        stored: the keys of the states that are stored.
        store: has what earlier stages took.
        whole: leave nothing out.
        at_once: see `show_plan`.
    """
    line = partial(say, console)
    for spec in specs:
        line(f"{spec.name}: {_amount(spec, planned[spec.name])}", "bold")
    trials = SplitStages(stored)(plan for plans in planned.values() for plan in plans)
    tree = make_tree(trials)
    for drawing in draw(trials, tree, stored, whole=whole):
        console.print(drawing)
    stages, epochs = tree.remaining(stored)
    shares = tree.naive_epochs > tree.shared_epochs
    saving = f" ({tree.naive_epochs / tree.shared_epochs:.1f}× fewer epochs)" if shares else ""
    suggested = sum(spec.suggested for spec in specs)
    line(f"trials: {len(trials):,}" + (f", and up to {suggested:,} that will be suggested" if suggested else ""))
    if not trials:
        return
    line(f"stages: {tree.naive_stages:,} naive → {tree.shared_stages:,} shared → {stages:,} still to run")
    line(f"epochs: {tree.naive_epochs:,} naive → {tree.shared_epochs:,} shared{saving} → {epochs:,} still to run")
    takes: dict[str, list[str]] = {}
    for spec in specs:
        takes.setdefault(_resources(spec.resources), []).append(spec.name)
    for resources, names in takes.items():
        line(f"resources per trial: {resources}" + (f" ({', '.join(names)})" if len(takes) > 1 else ""))
    settled, here = session.share_here(specs, planned)
    if told := _threads(specs, settled):
        line(told)
    for told in _expected(specs, settled, stored, store, at_once or [here]):
        line(told)


def print_explanation(planned: Planned, one: str, other: str, catalog: Catalog) -> None:
    """Print up to where two trials share their stages, and what differs.

    Raises:
        SpecError: there is no such trial, or more than one.
    """
    named: dict[str, list[TrialPlan]] = {}
    for plan in (plan for plans in planned.values() for plan in plans):
        named.setdefault(plan.name, []).append(plan)
        named.setdefault(_whole_name(plan), []).append(plan)
    a, b = _find(named, one), _find(named, other)
    states = shared_states(a, b)
    print(f"A: {_whole_name(a)}\nB: {_whole_name(b)}")
    print(f"They share {_shared(a, b, states)}")
    if a.key != b.key:
        for line in explain(a, b, catalog):
            print(f"  {line}")
        if also := _also_shared(a, b, states):
            print(also)


def _find(named: Mapping[str, Sequence[TrialPlan]], name: str) -> TrialPlan:
    found = named.get(name, ())
    if len(found) == 1:
        return found[0]
    if found:
        message = f"several trials are called {name!r}: {', '.join(map(_whole_name, found))}"
    else:
        message = f"there is no trial {name!r} ({nearest(name, named)})"
    raise SpecError([Problem("--explain", 0, 0, "", message)])


def _whole_name(plan: TrialPlan) -> str:
    return f"{plan.experiment}/{plan.name}"


def _shared(a: TrialPlan, b: TrialPlan, states: int) -> str:
    if a.key == b.key:
        return "everything: they are one and the same, and it is run once."
    if states == 0:
        return "nothing, not even the initial network. What differs:"
    if states == 1:
        return "the initial network, but no stage. What differs from there on:"
    stages = " → ".join(str(stage["name"]) for stage in a.stages[: states - 1])
    epochs = count(sum(a.stage_epochs[: states - 1]), "epoch")
    return f"{count(states - 1, 'stage')} of {epochs}: {stages}. What differs from there on:"


def _also_shared(a: TrialPlan, b: TrialPlan, states: int) -> str:
    """What they share of the stage in which they part."""
    length = split_between(a, b, states)
    if length is None:
        return ""
    name = a.stages[states - 1]["name"]
    return f"  they also share {count(length.value, length.unit.removesuffix('s'))} of {name}"


def _resources(resources: Mapping[str, Any]) -> str:
    """CPUs and GPUs, and what is not as it is by default."""
    shown = {k: v for k, v in resources.items() if k in ("cpu", "gpu") or v != RESOURCES[k]}
    return " ".join(f"{key}={value}" for key, value in shown.items())


def _threads(specs: Sequence[ExperimentSpec], settled: Planned) -> str:
    """How many threads stages use if they are run on this machine, where the spec leaves that to us."""
    stages = dict[str, int]()
    for spec in specs:
        if spec.resources["cpu"] == spec.resources["threads"] == AUTO:
            for plan in settled[spec.name]:
                stages |= zip(plan.keys[1:], plan.threads, strict=True)
    counts = sorted(Counter(stages.values()).items(), reverse=True)
    told = ", ".join(f"{threads} in {count(found, 'stage')}" for threads, found in counts)
    return f"threads on this machine: {told}" if told else ""


def _expected(
    specs: Sequence[ExperimentSpec],
    settled: Planned,
    stored: Collection[str],
    store: Store,
    at_once: Sequence[int],
) -> Iterator[str]:
    """How long it will take and how much room, as earlier runs tell."""
    estimator = Estimator([plan for plans in settled.values() for plan in plans], stored, store)
    if estimator.unknown:
        names = list(dict.fromkeys(plan.experiment for plan in estimator.unknown))
        of = f" of {', '.join(names)}" if len(names) < len(specs) else ""
        yield f"time left: unknown until a first trial{of} has run"
        return
    found = [(number, estimate) for number in at_once if (estimate := estimator(number))]
    if found:
        times = ", ".join(
            f"about {duration(one.seconds)} with {count(number, 'trial')} at once" for number, one in found
        )
        yield f"time left: {times} (by earlier runs on {', '.join(estimator.devices)})"
        busy, size = found[0][1].busy, found[0][1].size
        gpus = sum(busy[spec.name] * _gpus(spec, estimator.devices) for spec in specs)
        if gpus:
            yield f"GPU-hours left: {gpus / 3600:.3g}"
        yield f"store: about {readable(int(size))} more"


def _gpus(spec: ExperimentSpec, devices: Sequence[str]) -> float:
    gpu = spec.resources["gpu"]
    return float(devices != [CPU]) if gpu == AUTO else float(gpu)


def _amount(spec: ExperimentSpec, plans: Sequence[TrialPlan]) -> str:
    if spec.search.suggests:
        trials = count(spec.suggested, "trial")
        return f"up to {trials}, of points that {spec.search.algorithm} suggests one by one"
    return f"{count(len(plans), 'trial')}, {count(sum(plan.epochs for plan in plans), 'epoch')}"
