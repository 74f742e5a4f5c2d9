"""The commands and their options."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from framework._cli.ending import Ending
from framework._cli.groups import plugins_app, store_app
from framework._cli.interrupts import heed_interrupts
from framework._cli.options import (
    Address,
    Disabled,
    Executor,
    Kinds,
    MaxTrials,
    PluginFiles,
    PluginFolder,
    PluginSource,
    Root,
    Seeds,
    Sets,
    Specs,
    StoreLimit,
    StoreUri,
    TrackingUri,
    parse_seeds,
)
from framework._cli.outcomes import outcomes_app
from framework._cli.report_errors import load_registry, report_errors
from framework._errors import redact
from framework._home import make_home
from framework._paths import RESULTS, stages_in
from framework._terminal.encoding import make_writable

app = typer.Typer(
    name="framework",
    help="Experiments on how networks learn under freezing and pruning: stages in YAML, run by Ray Tune, tracked in "
    "MLflow.\n\nStart with: framework run experiments/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def run(
    specs: Specs,
    sets: Sets = [],  # noqa: B006 - typer reads it
    seeds: Seeds = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run finished trials again, from the start.")] = False,
    executor: Annotated[
        Executor, typer.Option(help="ray: in parallel. inline: one by one in this process, for debuggers.")
    ] = Executor.RAY,
    address: Address = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="Most trials at once. Default: as many as fit.", show_default=False),
    ] = None,
    max_trials: MaxTrials = None,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
    store: StoreUri = None,
    store_limit: StoreLimit = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Longest time between checkpoints of a trial within a stage.")
    ] = 5.0,
    plugin: PluginFiles = [],  # noqa: B006 - typer reads it
    disable_plugin: Disabled = [],  # noqa: B006
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show what Ray and MLflow log.")] = False,
) -> None:
    """Run every trial of the specs that is not finished yet.

    Exit codes: 0 all finished, 1 some failed, 2 bad usage or spec, 130 interrupted.
    """
    with report_errors():
        from framework._cli.run import run_specs
        from framework._executors.options import RunOptions

        options = RunOptions(
            root=root,
            tracking_uri=tracking_uri,
            store=store,
            executor=executor.value,
            address=address,
            max_concurrent=max_concurrent,
            store_limit=None if store_limit is None else int(store_limit * 10**9),
            checkpoint_minutes=checkpoint_minutes,
            force=force,
            verbose=verbose,
            command=shlex.join(["framework", *sys.argv[1:]]),
        )
        code = run_specs(
            specs,
            sets,
            parse_seeds(seeds),
            load_registry(disable_plugin, plugin),
            options,
            max_trials=max_trials,
            dry_run=dry_run,
            ui=_ui_command(root, tracking_uri),
        )
    raise typer.Exit(code)


@app.command()
def plan(
    specs: Specs,
    sets: Sets = [],  # noqa: B006 - typer reads it
    seeds: Seeds = None,
    root: Root = RESULTS,
    store: StoreUri = None,
    whole: Annotated[bool, typer.Option("--all", help="Draw every branch, however many there are.")] = False,
    explain: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="Say instead up to where two trials share their stages, and what differs from there on.",
            metavar="A B",
            show_default=False,
        ),
    ] = None,
    at_once: Annotated[
        list[int],
        typer.Option(
            min=1,
            help="Tell the time left for so many trials at once. May be given several times. "
            "Default: as many as fit on this machine.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    max_trials: MaxTrials = None,
    plugin: PluginFiles = [],  # noqa: B006 - typer reads it
    disable_plugin: Disabled = [],  # noqa: B006
) -> None:
    """Show the trials of the specs as a tree of the stages that they share, and what is still to run and takes."""
    with report_errors():
        from framework._cli.plan import show_plan

        show_plan(
            specs,
            sets,
            parse_seeds(seeds),
            load_registry(disable_plugin, plugin),
            max_trials=max_trials,
            store=stages_in(root, store),
            whole=whole,
            pair=explain,
            at_once=at_once,
        )


@app.command()
def validate(
    specs: Specs,
    sets: Sets = [],  # noqa: B006 - typer reads it
    seeds: Seeds = None,
    max_trials: MaxTrials = None,
    plugin: PluginFiles = [],  # noqa: B006
    disable_plugin: Disabled = [],  # noqa: B006
) -> None:
    """Check specs, and report every mistake with its place."""
    with report_errors():
        from framework._cli.plan import validate_specs

        validate_specs(specs, sets, parse_seeds(seeds), load_registry(disable_plugin, plugin), max_trials)


app.add_typer(outcomes_app)


@app.command()
def schema(
    plugin: PluginFiles = [],  # noqa: B006 - typer reads it
    disable_plugin: Disabled = [],  # noqa: B006
) -> None:
    """Print the JSON schema of specs, for editors."""
    with report_errors():
        from framework._cli.plugins import print_schema

        print_schema(load_registry(disable_plugin, plugin))


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Open the MLflow UI on the results, at http://127.0.0.1:PORT."""
    with report_errors():
        from framework._cli.ui import serve

        serve(root, tracking_uri, port)


@app.command("new-plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="the package's name, such as my-plugin", show_default=False)],
    kinds: Kinds = None,
    folder: PluginFolder = Path("."),
    source: PluginSource = None,
) -> None:
    """Write a plugin package to start from: its code, its tests, and a spec that uses it."""
    with report_errors():
        from framework._cli.new_plugin import write_package

        write_package(name, kinds or ["stage"], folder, source)


app.add_typer(plugins_app, name="plugins")
app.add_typer(store_app, name="store")


def command() -> None:
    """Entry point of the ``framework`` command, in a process of its own."""
    ending = Ending()
    try:
        main()
    except SystemExit as ended:
        ending.code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


def main() -> None:
    """Run the command with the arguments of this process; it ends with SystemExit."""
    heed_interrupts()
    make_writable()
    make_home()
    app()


def _ui_command(root: Path, tracking_uri: str | None) -> str:
    """What opens the UI on these results."""
    given = ["--root", str(root)] if root != RESULTS else []
    return shlex.join(["framework", "ui", *given, *(["--tracking-uri", redact(tracking_uri)] if tracking_uri else [])])
