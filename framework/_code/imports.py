"""Which files a file of code imports from beside it.

As when a file is run as a script, ``import layers`` finds ``layers.py`` beside it before what is installed; also in the
folders above, up to the spec's, so that ``from models.layers import Block`` works inside ``models`` too. Python's own
modules and the framework are never beside.
"""

import ast
import posixpath
import sys
from collections.abc import Callable, Iterator

Exists = Callable[[str], bool]
_ELSEWHERE = {*sys.stdlib_module_names, "framework", "framework_plugins"}


def files_of(folder: str, dotted: str, exists: Exists) -> list[str]:
    """List the files in a folder that importing a module executes, its packages' own included; none if it is not there.

    Args:
        folder: where the first part of the name is.
        dotted: such as ``models.layers``; empty: the folder as a package.
        exists: tells whether there is a file.
    """
    found, here = [], folder
    if not dotted and exists(init := posixpath.join(folder, "__init__.py")):
        found.append(init)
    for part in dotted.split(".") if dotted else ():
        here = posixpath.join(here, part)
        if exists(init := posixpath.join(here, "__init__.py")):
            found.append(init)
        elif exists(f"{here}.py"):
            return [*found, f"{here}.py"]
    return found


def folder_of(file: str, dotted: str, exists: Exists, top: str) -> str | None:
    """Return the folder beside or above a file in which an absolute import of it is found; None: it is installed.

    Args:
        file: the importing one.
        dotted: what it imports.
        exists: tells whether there is a file.
        top: the folder above which nothing is looked for.
    """
    if dotted.partition(".")[0] in _ELSEWHERE:
        return None
    folder = posixpath.dirname(file)
    while not files_of(folder, dotted, exists):
        if folder == top or folder == posixpath.dirname(folder):
            return None
        folder = posixpath.dirname(folder)
    return folder


def imported(tree: ast.AST, file: str, exists: Exists, top: str) -> Iterator[str]:
    """List the files that a file imports from beside it, wherever in its code it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                folder = folder_of(file, alias.name, exists, top)
                yield from files_of(folder, alias.name, exists) if folder is not None else ()
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node, file, exists, top)


def _imported_from(node: ast.ImportFrom, file: str, exists: Exists, top: str) -> Iterator[str]:
    module = node.module or ""
    wanted = [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
    if node.level:
        folder = posixpath.dirname(file)
        for _ in range(node.level - 1):
            folder = posixpath.dirname(folder)
        if not module and all(files_of(folder, name, exists) for name in wanted[1:]):
            wanted = wanted[1:]  # modules: what their package's own file has is not asked for
        for name in wanted:
            yield from files_of(folder, name, exists)
        return
    for name in wanted:
        if (found := folder_of(file, name, exists, top)) is not None:
            yield from files_of(found, name, exists)


class Relative(ast.NodeTransformer):
    """Makes imports of what is beside a file relative, so that they find it in whatever package the file is put.

    Args:
        file: the importing one, by its path below the folder that becomes a package.
        exists: tells whether there is a file, likewise.
    """

    def __init__(self, file: str, exists: Exists) -> None:
        self._file, self._exists = file, exists

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """Split it: each module is installed or beside."""
        made: list[ast.stmt] = []
        for alias in node.names:
            folder = folder_of(self._file, alias.name, self._exists, "")
            if folder is None:
                made.append(ast.Import([alias]))
                continue
            level, (package, _, last) = self._level(folder), alias.name.rpartition(".")
            if alias.asname or not package:
                made.append(ast.ImportFrom(package or None, [ast.alias(last, alias.asname)], level))
            else:  # it binds the first part, and has the others imported
                made.append(ast.ImportFrom(None, [ast.alias(alias.name.partition(".")[0])], level))
                made.append(ast.ImportFrom(package, [ast.alias(last, "_imported")], level))
        return [ast.copy_location(statement, node) for statement in made]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        """Find it where the module is, or where a module is that is asked for out of a folder."""
        if node.level:
            return node
        module = node.module or ""
        for name in (*(f"{module}.{alias.name}" for alias in node.names), module):
            if (folder := folder_of(self._file, name, self._exists, "")) is not None:
                return ast.copy_location(ast.ImportFrom(module, node.names, self._level(folder)), node)
        return node

    def _level(self, folder: str) -> int:
        depth = self._file.count("/") - (folder.count("/") + 1 if folder else 0)
        return depth + 1
