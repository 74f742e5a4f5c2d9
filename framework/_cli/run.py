"""``framework run``."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

from framework._cli.plan import print_plans
from framework._cli.ui import views
from framework._errors import redact
from framework._executors import session
from framework._executors.options import RunOptions
from framework._executors.recorder import HOW, Work
from framework._plan.result import Result
from framework._registry import Registry
from framework._report.excerpt import MOST
from framework._report.table import best, summarise, summary_table
from framework._report.variants import EXPERIMENT
from framework._spec import ExperimentSpec, load_specs
from framework._store import Store
from framework._terminal.console import make_console, say
from framework._terminal.view import make_view
from framework._tracking import Reader


def run_specs(
    files: Sequence[Path],
    sets: Sequence[str],
    seeds: Sequence[int] | None,
    registry: Registry,
    options: RunOptions,
    *,
    max_trials: int | None,
    dry_run: bool,
    ui: str,
) -> int:
    """Run the specs and print what came out, and the command ``ui`` that shows more of it.

    Returns:
        0 if all trials finished, else 1.
    """
    specs = load_specs(files, sets, seeds, registry, max_trials)
    console = make_console()
    if dry_run:
        # Who forces trials has them begin at the start, whatever is stored.
        store = Store(options.store_uri)
        stored = set() if options.force else store.stored()
        at_once = [1] if options.executor == "inline" else [options.max_concurrent] if options.max_concurrent else []
        print_plans(specs, session.plan_all(specs), console, stored, store, at_once=at_once)
        return 0
    for plugin in registry.plugins:
        if plugin.fault and not plugin.disabled:
            # A spec names none that only observes, so nothing else would say that it is missing.
            say(console, f"left out: {plugin.fault}")
    with make_view(console) as view:
        results, work = session.run(specs, registry, options, view)
    variants = summarise(results)
    console.print(summary_table(variants, MOST))
    for name, number in Counter(str(variant.values[EXPERIMENT]) for variant in variants).items():
        if number > MOST:
            say(console, f"All {number:,} variants of {name}:  framework compare {quote(name)} --limit 0")
    for spec in specs:
        if line := best_line(spec, results):
            say(console, line)
    if work:
        say(console, work_line(work.values()))
    failed = [result for result in results if result.error]
    for result in failed[:MOST]:
        say(console, f"failed: {result.plan.experiment} {result.plan.name}: {result.error}")
    if len(failed) > MOST:
        say(console, f"… {len(failed) - MOST:,} more failed: their runs say why")
    uri = options.mlflow_uri
    if uri.startswith("http"):  # a server has its own UI
        for line in views(Reader(uri), redact(uri).rstrip("/"), [spec.name for spec in specs]):
            say(console, f"Compare the runs of {line}")
    else:
        say(console, f"Compare the runs:  {ui}")
    return 1 if failed else 0


def best_line(spec: ExperimentSpec, results: Iterable[Result]) -> str | None:
    """The best variant of a random search, or of one that stopped trials: ``best of lr: lr=0.01: val/accuracy …``."""
    search = spec.search
    own = [result for result in results if result.plan.experiment == spec.name]
    if not own or not (search.samples > 1 or search.scheduler):
        return None
    metric, maximize = own[0].measures.aim(search.metric, search.mode)
    found = best(own, metric, maximize=maximize)
    if found is None:
        return None
    variant, mean, trials = found
    over = f" (mean of {trials} trials)" if trials > 1 else ""
    return f"best of {spec.name}: {variant}: {metric} {mean:.4f}{over}"


def work_line(work: Iterable[Work]) -> str:
    """What the stage tree has saved: ``stages: 4 executed, 6 shared, 0 restored; epochs: …``."""
    total = Work()
    for one in work:
        total.stages.update(one.stages)
        total.epochs.update(one.epochs)
    parts = [
        f"{what}: " + ", ".join(f"{count[how]} {how}" for how in HOW)
        for what, count in (("stages", total.stages), ("epochs", total.epochs))
    ]
    executed = total.epochs["executed"]
    saving = f" ({total.epochs.total() / executed:.1f}× fewer)" if 0 < executed < total.epochs.total() else ""
    return "; ".join(parts) + saving
