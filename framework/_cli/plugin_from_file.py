"""``framework new-plugin --from``: a package of what a file defines already."""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from framework._code.imports import imported
from framework._component import KINDS
from framework._errors import FrameworkError, nearest

_INIT = '''"""What {name} brings to framework."""

{imports}

'''
_HOOK = """
@hookimpl
def {hook}():
    return {{{members}}}

"""
_TEST = """

def test_{registered}_keeps_to_what_a_{kind}_promises():
    check_{kind}({defined})  # and its parameters, as in YAML
"""


class Brought(NamedTuple):
    """A component that a file brings: its kind, what the file and what specs call it, and how its docstring begins."""

    kind: str
    defined: str
    registered: str
    doc: str

    @property
    def row(self) -> str:
        """It in the table of the README."""
        return f"| {self.kind} | `{self.registered}` | {self.doc} |"


def chosen(file: Path, kinds: Sequence[str]) -> tuple[str, list[Brought]]:
    """Read a file of code, without running it.

    Args:
        file: the path.
        kinds: what is to be registered, such as ``loss:Focal``.

    Returns:
        What is in it, and what it brings.

    Raises:
        FrameworkError: it cannot be read, is no Python, or imports what lies beside it.
        BadParameter: a kind or name is not there.
    """
    try:
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text, str(file))
    except OSError as error:
        raise FrameworkError(f"{file} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        raise FrameworkError(f"{file}{line} is no Python: {error}") from None
    folder = file.parent
    if beside := sorted({*imported(tree, file.name, lambda path: (folder / path).is_file(), "")} - {file.name}):
        raise FrameworkError(f"{file} imports {beside[0]} from beside it, which the package would lack: put it in")
    docs = {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    }
    return text, [_brought(given, docs) for given in kinds]


def package_of(name: str, module: str, file: Path, text: str, parts: Sequence[Brought]) -> dict[str, str]:
    """The code of a package by path: the file as it is, the hooks, and a test for each component.

    Args:
        name: of the distribution.
        module: what it is imported as.
        file: where the code is from.
        text: what is in it.
        parts: what is registered.
    """
    source = re.sub(r"\W", "_", file.stem)
    defined = ", ".join(sorted({part.defined for part in parts}))
    own = f"from {module}.{source} import {defined}"
    init = _INIT.format(name=name, imports=f"from framework import hookimpl\n\n{own}")
    for kind in dict.fromkeys(part.kind for part in parts):
        members = ", ".join(f'"{part.registered}": {part.defined}' for part in parts if part.kind == kind)
        init += _HOOK.format(hook=KINDS[kind].hook, members=members)
    checks = ", ".join(sorted({f"check_{part.kind}" for part in parts}))
    tests = "".join(_TEST.format(**part._asdict()) for part in parts)
    return {
        f"src/{module}/__init__.py": init.rstrip() + "\n",
        f"src/{module}/{source}.py": text,
        f"tests/test_{source}.py": f"from framework.testing import {checks}\n\n{own}\n{tests}",
    }


def _brought(given: str, docs: Mapping[str, str]) -> Brought:
    kind, colon, name = given.partition(":")
    if kind not in KINDS:
        raise typer.BadParameter(f"there is no kind {kind!r} ({nearest(kind, (*KINDS,))})")
    if not colon:
        raise typer.BadParameter(f"say which {kind} of the file it is: --kind {kind}:NAME ({nearest(name, [*docs])})")
    if name not in docs:
        raise typer.BadParameter(f"the file defines no {name!r} ({nearest(name, [*docs])})")
    return Brought(kind, name, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(), docs[name])
