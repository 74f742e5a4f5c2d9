"""``framework plugins`` and ``framework schema``."""

import inspect
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from framework._cli.console import make_console, say
from framework._component import KINDS, usable
from framework._registry import Registry
from framework._spec import schema


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
    entry, console = registry.get(kind, name), make_console()
    console.print(f"[bold]{kind} {name}[/bold], from {entry.source}\n", highlight=False)
    console.print(inspect.getdoc(entry.factory) or "", highlight=False, markup=False)
    console.print()
    properties = entry.parameters.model_json_schema().get("properties", {})
    if not properties:
        console.print("It has no parameters.")
        return
    required = {field for field, info in entry.parameters.model_fields.items() if info.is_required()}
    table = Table(box=None, pad_edge=False)
    for column in ("parameter", "type", "bounds", "default"):
        table.add_column(column)
    for parameter, described in properties.items():
        default = "(required)" if parameter in required else json.dumps(described.get("default"))
        table.add_row(parameter, _type(described), _bounds(described), default)
    console.print(table)


def print_schema(registry: Registry) -> None:
    """Print the JSON schema of specs."""
    print(json.dumps(schema(registry), indent=2))


def _type(described: dict[str, Any]) -> str:
    if "x-component" in described:
        return str(described["x-component"])
    if "anyOf" in described:
        return " or ".join(_type(option) for option in described["anyOf"])
    if "enum" in described:
        return " | ".join(map(str, described["enum"]))
    if "const" in described:
        return str(described["const"])
    kind = described.get("type", "any")
    if kind == "array":
        items = described.get("prefixItems") or [described.get("items", {})]
        return f"list of {', '.join(_type(item) for item in items)}"
    if kind == "object" and "properties" in described:
        return "{" + ", ".join(described["properties"]) + "}"
    return str(kind)


_SIGNS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def _bounds(described: dict[str, Any]) -> str:
    options = [described, *described.get("anyOf", ())]
    return ", ".join(f"{sign} {option[key]:g}" for option in options for key, sign in _SIGNS.items() if key in option)
