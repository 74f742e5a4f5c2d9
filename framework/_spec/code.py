"""The files of code and the modules that a spec names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath

from framework._code import canonical, file_in, is_file_name, module_in, read_code
from framework._component import Catalog
from framework._errors import Problem
from framework._spec.count import TREE
from framework._spec.document import read
from framework._spec.node import Node
from framework._spec.resolve import METRICS


def read_files(root: Node, file: FilePath, catalog: Catalog, found: list[Problem]) -> tuple[Node, Catalog]:
    """Read the files of code that a spec names, as plugins or for what is in them.

    Names are relative to the file that they are written in, and to the working folder on the command line.

    Args:
        root: the spec.
        file: where it is from.
        catalog: may have files already, which the user has named beside the spec.
        found: takes what is wrong with files that are named as plugins.

    Returns:
        The spec, in which all files are called as they are from its own folder, and the catalog with these files.
    """
    folder = file.parent
    root, files, modules = rename_files(root, folder)
    plugins = _plugin_files(root.value.get("plugins"), folder, found)
    beside = [canonical(path, FilePath(catalog.code.root), folder) for path in catalog.code.plugins]
    code = read_code(folder, files, [*plugins, *beside], modules)
    catalog = catalog.with_code(code)
    for path, node in plugins.items():
        found.extend(node.problem(fault) for fault in catalog.faults(path))
    return root, catalog


def rename_files(root: Node, folder: FilePath) -> tuple[Node, list[str], list[str]]:
    """Call all files that a spec names as they are called from a folder.

    Returns:
        The changed spec, the files, and the modules that it names.
    """
    files: dict[str, None] = {}
    modules: dict[str, None] = {}

    def renamed(name: str, node: Node) -> str:
        split = file_in(name)
        if split is None:
            modules.update(dict.fromkeys((module_in(name) or ())[:1]))
            return name
        try:
            path = canonical(split[0], _folder_of(node), folder)
        except ValueError:
            return name  # no such home folder: then there is no such file
        files[path] = None
        return f"{path}:{split[1]}"

    parts = {key: _renamed(child, renamed) if key in (*TREE, METRICS) else child for key, child in root.value.items()}
    return replace(root, value=parts), list(files), list(modules)


def names_files(file: FilePath) -> bool:
    """Tell whether a spec names any file of code. It is read, but not validated, and no code is run.

    Raises:
        SpecError: it cannot be read.
    """
    found: list[Problem] = []
    root = read(file, found)
    return bool(rename_files(root, file.parent)[1] or _plugin_files(root.value.get("plugins"), file.parent, found))


def _folder_of(node: Node) -> FilePath:
    return FilePath(node.mark.file).parent if node.mark.line else FilePath.cwd()


def _plugin_files(node: Node | None, folder: FilePath, found: list[Problem]) -> dict[str, Node]:
    """The files among the plugins of a spec, as they are called from its folder, each with where it is named."""
    files = {}
    for item in node.value if node is not None and isinstance(node.value, list) else ():
        if is_file_name(item.value):
            try:
                files[canonical(item.value, _folder_of(item), folder)] = item
            except ValueError as error:
                found.append(item.problem(str(error)))
    return files


def _renamed(node: Node, rename: Callable[[str, Node], str]) -> Node:
    """A value in which everything that may be the name of something in a file is changed, keys too."""
    if isinstance(node.value, str):
        return replace(node, value=rename(node.value, node))
    if isinstance(node.value, list):
        return replace(node, value=[_renamed(child, rename) for child in node.value])
    if not isinstance(node.value, dict):
        return node
    names = {key: rename(key, replace(node, mark=node.keys.get(key, child.mark))) for key, child in node.value.items()}
    value = {names[key]: _renamed(child, rename) for key, child in node.value.items()}
    return replace(node, value=value, keys={names.get(key, key): mark for key, mark in node.keys.items()})
