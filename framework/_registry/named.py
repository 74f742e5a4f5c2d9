"""Components that nobody has registered: what specs name in a file (``./mine.py:Net``) or a module (``package:Net``).

Any callable will do, if it can be what its kind asks for. Of a file that the user has named, that is told by what it
is; a spec must not be able to call whatever is installed, so a function in a module also has to say what it returns.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import cache, reduce
from importlib import import_module, metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from framework._code import Code, file_in, load_file, make_importable, module_in, place_of, stored_in
from framework._component import Entry
from framework._errors import INTERRUPTS, PluginError, describe, nearest
from framework._registry.code import code_of_modules
from framework._registry.fitting import fitted


class Named:
    """The components that the files and modules of a spec have.

    Args:
        code: the files and modules.
        known: by distribution, what stands in keys for those that have plugins.

    Attributes:
        origins: by file and by distribution of a module, what stands for it in stage keys.
    """

    def __init__(self, code: Code, known: Mapping[str, str]) -> None:
        self.code = code
        if code:
            make_importable(code)
        self.origins = {code.name(path): code.origin(path) for path in code.texts}
        found = {module: source for module in code.modules if (source := _distribution(module))}
        self._modules = {module: (source, known.get(source, origin)) for module, (source, origin) in found.items()}
        self.origins |= dict(self._modules.values())
        self._entries: dict[tuple[str, str], Entry] = {}

    def entry(self, kind: str, name: str) -> Entry | None:
        """Return what a name stands for as a component of a kind, None if it names neither a file nor a module.

        Raises:
            PluginError: the file or module cannot be imported, or what is named cannot be of the kind; says where.
        """
        if (kind, name) not in self._entries:
            made = self._in_file(kind, name) or self._in_module(kind, name)
            if made is None:
                return None
            self._entries[kind, name] = made
        return self._entries[kind, name]

    def hooks(self) -> Iterator[tuple[str, object | PluginError]]:
        """Import the files that have hooks: what the spec calls each, and the module or why there is none."""
        for path in self.code.plugins:
            try:
                yield self.code.name(path), load_file(self.code, path)
            except PluginError as error:
                yield self.code.name(path), error

    def _in_file(self, kind: str, name: str) -> Entry | None:
        if split := stored_in(name):
            file = next((file for file, origin in self.origins.items() if origin == split[0]), None)
            path = None if file is None else self.code.path(file)
        else:
            split = file_in(name)
            path = self.code.path(split[0]) if split else None
        if split is None or path is None:
            return None
        file, part = self.code.name(path), split[1]
        found = _part_of(load_file(self.code, path), part, file)
        place = place_of(found) or file
        factory = fitted(kind, found, part, place, foreign=False)
        return Entry(kind, name, factory, file, self.origins[file], part, place)

    def _in_module(self, kind: str, name: str) -> Entry | None:
        split = module_in(name)
        if split is None:
            return None
        module, part = split
        if module not in self._modules:
            raise PluginError(_no_module(module, part))
        try:
            imported = import_module(module)
        except INTERRUPTS:
            raise
        except BaseException as error:  # as for a plugin that cannot be imported
            raise PluginError(f"{module} cannot be imported: {describe(error)}") from error
        source, origin = self._modules[module]
        factory = fitted(kind, _part_of(imported, part, module), part, module, foreign=True)
        return Entry(kind, name, factory, source, origin)


def _part_of(module: object, part: str, where: str) -> Any:
    try:
        return reduce(getattr, part.split("."), module)
    except AttributeError:
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise PluginError(f"{where} has no {part!r} ({nearest(part, names)})") from None


def _no_module(module: str, part: str) -> str:
    return (
        f"there is no module {module!r} among what is installed, and the working folder is not looked in: a file is "
        f"named by its path, ./{module.replace('.', '/')}.py:{part}"
    )


@cache
def _distribution(module: str) -> tuple[str, str] | None:
    """Return the distribution that a module is in, with its version, and what stands for it in keys; None: no module.

    A module that is in none stands for itself.
    """
    top = module.partition(".")[0]
    try:
        found = find_spec(top)
    except (ImportError, ValueError):
        return None
    if found is None or _only_in_working_folder(found):
        return None
    names = _installed().get(top)
    dist = metadata.distribution(names[0]) if names else None
    source = f"{dist.metadata['Name']} {dist.version}" if dist else top
    return source, f"{source} {code_of_modules(dist, top)}".strip()


@cache
def _installed() -> Mapping[str, list[str]]:
    """Map top-level modules to distributions, which takes a second."""
    return metadata.packages_distributions()


def _only_in_working_folder(found: ModuleSpec) -> bool:
    """Tell whether a module is found only as an interactive Python looks where it stands, which workers do not."""
    here = str(Path.cwd())
    folders = found.submodule_search_locations or ([found.origin] if found.origin else [])
    return "" in sys.path and here not in sys.path and any(str(Path(folder).parent) == here for folder in folders)
