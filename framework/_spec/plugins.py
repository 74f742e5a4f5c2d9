"""The plugin packages that a spec says it needs. Files among them are `framework._spec.code`'s."""

from importlib import metadata
from typing import TYPE_CHECKING

from framework._code import is_file_name
from framework._errors import Problem
from framework._spec.node import HOLE, Node

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def check_plugins(node: Node | None, found: list[Problem]) -> None:
    """Report every package that is not installed, or not in the version that the spec needs."""
    if node is None or node.value is HOLE:
        return
    if not isinstance(node.value, list):
        found.append(
            node.problem(
                f"must be a list of packages and files, such as [framework-lion>=1.2, ./mine.py], not {node.shown}"
            )
        )
        return
    from packaging.requirements import InvalidRequirement, Requirement  # few specs need it

    for item in node.value:
        if is_file_name(item.value):
            continue
        try:
            required = Requirement(item.value)
        except (InvalidRequirement, TypeError):
            found.append(
                item.problem(
                    f"must be a package as pip names it (framework-lion>=1.2) or a file (./mine.py), not {item.shown}"
                )
            )
            continue
        lack = _lack(required)
        if lack:
            found.append(item.problem(f"{lack}: pip install '{required}'"))


def _lack(required: "Requirement") -> str:
    try:
        here = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        return f"the plugin package {required.name!r} is not installed"
    if required.specifier.contains(here, prereleases=True):
        return ""
    return f"{required.name} {here} is installed, and this spec needs {required.specifier}"
