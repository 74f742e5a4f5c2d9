"""The command groups ``plugins`` and ``store``."""

from typing import Annotated

import typer

from framework._cli.options import Disabled, PluginFiles, Root, StoreUri, TrackingUri, parse_age
from framework._cli.report_errors import load_registry, report_errors
from framework._paths import RESULTS, stages_in

plugins_app = typer.Typer(
    help="Show the components that specs can name.", invoke_without_command=True, rich_markup_mode=None
)
store_app = typer.Typer(help="Look after the stored stages.", no_args_is_help=True, rich_markup_mode=None)


@plugins_app.callback(invoke_without_command=True)
def plugins(context: typer.Context) -> None:
    """Show the components that specs can name."""
    if context.invoked_subcommand is None:
        list_plugins(plugin=[], disable_plugin=[])


@plugins_app.command("list")
def list_plugins(
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", help="Show the distributions, their hooks and how long they take to load."),
    ] = False,
    plugin: PluginFiles = [],  # noqa: B006 - typer reads it
    disable_plugin: Disabled = [],  # noqa: B006
) -> None:
    """List all components, and what is wrong with plugins that cannot be used."""
    with report_errors():
        from framework._cli.plugins import list_components, list_distributions

        (list_distributions if verbose else list_components)(load_registry(disable_plugin, plugin))


@plugins_app.command("show")
def show_plugin(
    kind: Annotated[
        str,
        typer.Argument(help="Such as stage, loss or criterion."),
    ],
    name: Annotated[str, typer.Argument(help="the component's name, or FILE:NAME, such as mine.py:Net")],
    plugin: PluginFiles = [],  # noqa: B006 - typer reads it
) -> None:
    """Show a component's parameters: types, bounds, defaults, and where it comes from."""
    with report_errors():
        from framework._cli.plugins import show_component

        show_component(load_registry((), plugin), kind, name)


@store_app.command("list")
def list_store(root: Root = RESULTS, store: StoreUri = None) -> None:
    """List the stored stages, the newest last."""
    with report_errors():
        from framework._cli.store import list_snapshots
        from framework._store import Store

        list_snapshots(Store(stages_in(root, store)))


@store_app.command("size")
def store_size(root: Root = RESULTS, store: StoreUri = None) -> None:
    """Say how much is stored."""
    with report_errors():
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
    with report_errors():
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
