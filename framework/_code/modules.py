"""Import files of code that are plain data."""

import ast
import inspect
import posixpath
import sys
from contextlib import suppress
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from traceback import walk_tb
from types import CodeType, ModuleType, TracebackType
from typing import Any

from framework._code.code import Code
from framework._code.imports import Relative
from framework._errors import INTERRUPTS, PluginError, describe

_PACKAGE = "framework_code_"


def load_file(code: Code, path: str) -> ModuleType:
    """Import a file; files of one `Code` that import each other are the same modules.

    Args:
        code: has the file.
        path: of the file, below the code's root.

    Raises:
        PluginError: there is no such file, or it cannot be imported; says in which line.
    """
    name = code.name(path)
    if path not in code.texts:
        raise PluginError(f"{name}: {code.faults.get(path, f'there is no file {posixpath.join(code.root, path)}')}")
    make_importable(code)
    try:
        return import_module(".".join([f"{_PACKAGE}{code.digest}", *map(_part, path.removesuffix(".py").split("/"))]))
    except INTERRUPTS:
        raise
    except SyntaxError as error:
        raise PluginError(f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}") from error
    except BaseException as error:  # whatever it does when imported, sys.exit too
        raise PluginError(f"{place_in(error.__traceback__) or name}: {describe(error)}") from error


def make_importable(code: Code) -> None:
    """Have this process import the files, also where it unpickles what is made of their classes."""
    _FINDER.known[f"{_PACKAGE}{code.digest}"] = code
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)


def place_in(traceback: TracebackType | None) -> str | None:
    """Return the innermost line of a file of code in a traceback, as ``./mine.py:12``; None if there is none."""
    loaders = [(frame.f_globals.get("__loader__"), line) for frame, line in walk_tb(traceback)]
    places = [loader.place(line) for loader, line in loaders if isinstance(loader, _Loader)]
    return places[-1] if places else None


def place_of(found: Any) -> str:
    """Return the line of a file of code in which a class or function is defined; empty if it is in none."""
    with suppress(Exception):  # a plugin's class may compute its attributes
        loader = getattr(sys.modules.get(found.__module__), "__loader__", None)
        if isinstance(loader, _Loader):
            return loader.place(inspect.findsource(inspect.unwrap(found))[1] + 1)
    return ""


class _Finder(MetaPathFinder):
    """Finds modules whose files are data: each `Code` is a package of its own, with its folders below."""

    def __init__(self) -> None:
        self.known: dict[str, Code] = {}

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, *parts = fullname.split(".")
        code = self.known.get(package)
        if code is None:
            return None
        wanted = "".join(f"{part}/" for part in parts)
        files = {"/".join(map(_part, file.removesuffix(".py").split("/"))): file for file in code.texts}
        init, module = files.get(f"{wanted}__init__"), files.get(wanted.rstrip("/"))
        if init or not module:
            is_package = not parts or bool(init) or any(file.startswith(wanted) for file in files)
            return spec_from_loader(fullname, _Loader(code, init), is_package=True) if is_package else None
        return spec_from_loader(fullname, _Loader(code, module), is_package=False)


class _Loader(InspectLoader):
    """Executes a file's text, with the imports of what is beside it made relative.

    Args:
        code: has the file.
        path: of the file; None: a folder, as a package that has nothing in itself.
    """

    def __init__(self, code: Code, path: str | None) -> None:
        self._code, self._path = code, path

    def get_source(self, fullname: str) -> str:
        return self._code.texts[self._path] if self._path else ""

    def get_code(self, fullname: str) -> CodeType:
        file, texts = posixpath.join(self._code.root, self._path or "__init__.py"), self._code.texts
        try:
            tree = Relative(self._path or "", texts.__contains__).visit(ast.parse(self.get_source(fullname), file))
            compiled: CodeType = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)
        except SyntaxError as error:
            error.filename = self._code.name(self._path or "")
            raise
        return compiled

    def exec_module(self, module: ModuleType) -> None:
        if self._path:
            module.__file__ = posixpath.join(self._code.root, self._path)
        super().exec_module(module)

    def place(self, line: int) -> str:
        """Name a line of the file as messages do."""
        return f"{self._code.name(self._path or '')}:{line}"


def _part(part: str) -> str:
    """Return what a part of a path is called as a part of a module's name."""
    return part.replace(".", "%")


_FINDER = _Finder()
