"""The commands and their options."""

import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from framework._cli.options import (
    RESULTS,
    Address,
    Disabled,
    Executor,
    Kinds,
    Root,
    Seeds,
    Sets,
    Specs,
    StoreLimit,
    StoreUri,
    TrackingUri,
    parse_age,
    parse_seeds,
    stages_in,
)
from framework._errors import FrameworkError, PluginError, SpecError

if TYPE_CHECKING:
    from framework._registry import Registry

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
plugins_app = typer.Typer(
    help="Show the components that specs can name.", invoke_without_command=True, rich_markup_mode=None
)
app.add_typer(plugins_app, name="plugins")
store_app = typer.Typer(help="Look after the stored stages.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(store_app, name="store")


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
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
    store: StoreUri = None,
    store_limit: StoreLimit = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Longest time between checkpoints of a trial within a stage.")
    ] = 5.0,
    disable_plugin: Disabled = [],  # noqa: B006 - typer reads it
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show what Ray and MLflow log.")] = False,
) -> None:
    """Run every trial of the specs that is not finished yet.

    Exit codes: 0 all finished, 1 some failed, 2 bad usage or spec, 130 interrupted.
    """
    with _told():
        from framework._cli.run import run_specs

        code = run_specs(
            specs,
            sets,
            parse_seeds(seeds),
            _registry(disable_plugin),
            dry_run=dry_run,
            root=root,
            tracking_uri=tracking_uri,
            executor=executor.value,
            address=address,
            max_concurrent=max_concurrent,
            force=force,
            store=store,
            store_limit=None if store_limit is None else int(store_limit * 10**9),
            checkpoint_minutes=checkpoint_minutes,
            verbose=verbose,
            command=shlex.join(["framework", *sys.argv[1:]]),
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
    disable_plugin: Disabled = [],  # noqa: B006 - typer reads it
) -> None:
    """Show the trials of the specs as a tree of the stages that they share, and what is still to run."""
    with _told():
        from framework._cli.plan import show_plan

        registry = _registry(disable_plugin)
        show_plan(specs, sets, parse_seeds(seeds), registry, store=stages_in(root, store), whole=whole, pair=explain)


@app.command()
def validate(
    specs: Specs,
    sets: Sets = [],  # noqa: B006 - typer reads it
    seeds: Seeds = None,
    disable_plugin: Disabled = [],  # noqa: B006
) -> None:
    """Check specs, and report every mistake with its place."""
    with _told():
        from framework._cli.plan import validate_specs

        validate_specs(specs, sets, parse_seeds(seeds), _registry(disable_plugin))


@plugins_app.callback(invoke_without_command=True)
def plugins(context: typer.Context) -> None:
    """Show the components that specs can name."""
    if context.invoked_subcommand is None:
        list_plugins(disable_plugin=[])


@plugins_app.command("list")
def list_plugins(
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", help="Show the distributions, their hooks and how long they take to load."),
    ] = False,
    disable_plugin: Disabled = [],  # noqa: B006 - typer reads it
) -> None:
    """List all components, and what is wrong with plugins that cannot be used."""
    with _told():
        from framework._cli.plugins import list_components, list_distributions

        (list_distributions if verbose else list_components)(_registry(disable_plugin))


@plugins_app.command("show")
def show_plugin(
    kind: Annotated[str, typer.Argument(help="stage, model, dataset, loss, optimizer, schedule or criterion")],
    name: Annotated[str, typer.Argument(help="the component's name")],
) -> None:
    """Show a component's parameters: types, bounds, defaults, and where it comes from."""
    with _told():
        from framework._cli.plugins import show_component

        show_component(_registry(()), kind, name)


@store_app.command("list")
def list_store(root: Root = RESULTS, store: StoreUri = None) -> None:
    """List the stored stages, the newest last."""
    with _told():
        from framework._cli.store import list_snapshots
        from framework._store import Store

        list_snapshots(Store(stages_in(root, store)))


@store_app.command("size")
def store_size(root: Root = RESULTS, store: StoreUri = None) -> None:
    """Say how much is stored."""
    with _told():
        from framework._cli.store import show_size
        from framework._store import Store

        show_size(Store(stages_in(root, store)))


@store_app.command("gc")
def store_gc(
    keep_last: Annotated[
        int | None, typer.Option(min=0, help="Remove all but the newest N.", metavar="N", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Remove what is older: 7d, 12h, 30m.", metavar="AGE", show_default=False)
    ] = None,
    unreferenced: Annotated[bool, typer.Option("--unreferenced", help="Remove what no run refers to.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and stop.")] = False,
    root: Root = RESULTS,
    store: StoreUri = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Remove stored stages. Of several choices, a stage goes only if all of them choose it."""
    if keep_last is None and older_than is None and not unreferenced:
        raise typer.BadParameter("say what to remove: give --keep-last, --older-than or --unreferenced")
    with _told():
        from framework._cli.store import collect
        from framework._store import Store

        collect(
            Store(stages_in(root, store)),
            root,
            tracking_uri,
            keep_last=keep_last,
            older=parse_age(older_than),
            only_unreferenced=unreferenced,
            dry_run=dry_run,
        )


@app.command()
def schema(disable_plugin: Disabled = []) -> None:  # noqa: B006 - typer reads it
    """Print the JSON schema of specs, for editors."""
    with _told():
        from framework._cli.plugins import print_schema

        print_schema(_registry(disable_plugin))


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    root: Root = RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Open the MLflow UI on the results, at http://127.0.0.1:PORT."""
    with _told():
        from framework._cli.ui import serve

        serve(root, tracking_uri, port)


@app.command("new-plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="the package's name, such as my-plugin", show_default=False)],
    kinds: Kinds = ["stage"],  # noqa: B006 - typer reads it
    folder: Annotated[Path, typer.Option("--folder", help="Where its folder is made.")] = Path("."),
) -> None:
    """Write a plugin package to start from: its code, its tests, and a spec that uses it."""
    with _told():
        from framework._cli.new_plugin import write_package

        write_package(name, kinds, folder)


def main() -> None:
    """Entry point of the ``framework`` command."""
    # A batch system's request to stop is met as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()


def _registry(disabled: Iterable[str]) -> "Registry":
    from framework._registry import installed

    return installed(frozenset(disabled))


def _ui_command(root: Path, tracking_uri: str | None) -> str:
    """What opens the UI on these results."""
    given = ["--root", str(root)] if root != RESULTS else []
    return shlex.join(["framework", "ui", *given, *(["--tracking-uri", tracking_uri] if tracking_uri else [])])


@contextmanager
def _told() -> Iterator[None]:
    """Turn errors that are the user's to read into their text and an exit code."""
    try:
        yield
    except FrameworkError as error:
        print(f"error: {error}" if not isinstance(error, SpecError) else error, file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, SpecError | PluginError) else 1) from None
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader (head, say) has left; without this Python complains again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
