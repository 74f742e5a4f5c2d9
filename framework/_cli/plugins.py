"""``framework plugins`` and ``framework schema``."""

import inspect
import json
from typing import Any

from rich.table import Table

from framework._cli.console import make_console
from framework._component import KINDS
from framework._registry import installed
from framework._spec import schema


def list_components() -> None:
    """Print all components by kind."""
    registry, console = installed(), make_console()
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "name", "what it is", "from"):
        table.add_column(column, no_wrap=column != "what it is")
    for kind in KINDS:
        for name in registry.names(kind):
            entry = registry.get(kind, name)
            table.add_row(kind, name, entry.doc.split(". ")[0].rstrip("."), entry.source)
    console.print(table)
    console.print("\nParameters of one:  framework plugins show KIND NAME", highlight=False)


def show_component(kind: str, name: str) -> None:
    """Print one component's documentation and parameters.

    Raises:
        PluginError: there is none of that kind and name.
    """
    entry, console = installed().get(kind, name), make_console()
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


def print_schema() -> None:
    """Print the JSON schema of specs."""
    print(json.dumps(schema(installed()), indent=2))


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
