"""``framework plugins`` and ``framework schema``."""

import json
from pathlib import Path
from textwrap import indent

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from framework._code import canonical, file_in
from framework._component import KINDS, usable
from framework._component.described import Parameter, described
from framework._component.docstring import sections
from framework._registry import Registry
from framework._spec import schema
from framework._terminal.console import make_console, say


def list_components(registry: Registry) -> None:
    """Print all components by kind, and what is wrong with those that cannot be used."""
    console = make_console()
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "name", "what it is", "from"):
        table.add_column(column, no_wrap=column != "what it is")
    for kind in KINDS:
        for entry in usable(registry, kind)[0]:
            table.add_row(kind, entry.name, entry.doc.split(". ")[0].rstrip("."), entry.source)
    console.print(table)
    say(console, "\nParameters of one:  framework plugins show KIND NAME")
    _print_faults(registry, console)


def list_distributions(registry: Registry) -> None:
    """Print the distributions that have plugins: their hooks, components and how long they take to load."""
    console = make_console()
    table = Table(box=None, pad_edge=False)
    for column in ("distribution", "module", "hooks", "components", "load"):
        table.add_column(column, justify="right" if column == "load" else "left")
    for plugin in sorted(registry.plugins, key=lambda plugin: plugin.source):
        named = (f"{entry.kind} {entry.name}" for entry in plugin.components)
        load = f"{plugin.seconds * 1000:.0f} ms"
        table.add_row(plugin.source, plugin.module, ", ".join(plugin.hooks), ", ".join(named), load)
    console.print(table)
    _print_faults(registry, console)


def _print_faults(registry: Registry, console: Console) -> None:
    for fault in (*registry.broken, *(fault for kind in KINDS for fault in usable(registry, kind)[1])):
        say(console, f"cannot be used: {fault}", "red")


def show_component(registry: Registry, kind: str, name: str) -> None:
    """Print one component's documentation and parameters.

    Raises:
        PluginError: there is none of that kind and name.
    """
    files = [Path(registry.code.root, path) for path in registry.code.plugins]
    entry, console = registry.with_files(files, [name]).get(kind, called_here(name)), make_console()
    console.print(f"[bold]{kind} {name}[/bold], from {entry.place or entry.source}\n", highlight=False)
    about, parameters = sections(entry.factory), described(entry)
    for title, text in about.items():
        if title not in ("Args", "Attributes"):  # they are in the table
            shown = f"{title}:\n{indent(text, '    ')}\n" if title else f"{text}\n"
            console.print(shown, highlight=False, markup=False)
    if not parameters:
        console.print("It has no parameters.")
        return
    table = Table(box=None, pad_edge=False)
    for column in Parameter._fields:
        table.add_column("parameter" if column == "name" else column)
    for parameter in parameters:
        table.add_row(*map(escape, parameter))
    console.print(table)


def called_here(name: str) -> str:
    """What is in a file is looked up by what the file is called from the working folder."""
    split = file_in(name)
    return f"{canonical(split[0], Path.cwd(), Path.cwd())}:{split[1]}" if split else name


def print_schema(registry: Registry) -> None:
    """Print the JSON schema of specs."""
    print(json.dumps(schema(registry), indent=2))
