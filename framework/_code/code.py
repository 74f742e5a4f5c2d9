"""Files of code as plain data."""

import ast
import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from framework._code.imports import imported
from framework._errors import first_line

_MOST_BYTES = 10**6  # of one file
_MOST_FILES = 500


@dataclass(frozen=True)
class Code:
    """The files that a spec names, and what they import from beside them: plain data, to be imported in any process.

    Attributes:
        texts: what is in each file, by its path below ``root``.
        base: the spec's folder below ``root``, empty if it is the same: names of files are relative to it.
        plugins: of the files, those whose hooks register components or observe trials.
        modules: installed modules that the spec names components in.
        faults: by path, why a file cannot be had.
        root: the folder that all files are in, where they were read; it is only shown.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    plugins: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    root: str = ""

    def __bool__(self) -> bool:
        return bool(self.texts or self.faults or self.modules)

    def path(self, file: str) -> str:
        """Return the path below ``root`` of what the spec calls ``./mine.py``."""
        return posixpath.normpath(posixpath.join(self.base, file))

    def name(self, path: str) -> str:
        """Return what the spec calls the file of this path."""
        name = posixpath.relpath(path, self.base or ".")
        return name if name.startswith("../") else f"./{name}"

    @cached_property
    def digest(self) -> str:
        """What tells it from others: all that importing it, and looking names up in it, depends on."""
        parts = [self.base, *self.plugins, "", *self.modules, "", *(f"{k}\0{v}" for k, v in self.faults.items())]
        return _digest([*parts, *(f"{path}\0{text}" for path, text in sorted(self.texts.items()))])

    def origin(self, path: str) -> str:
        """Return what stands for a file in stage keys: its content, and that of what it imports from beside it.

        What it is called does not count, as nothing does that leaves what it computes as it is.
        """
        files = _closure([path], self.texts.__contains__, self.texts.__getitem__, "")
        folder = posixpath.dirname(path) or "."
        beside = sorted((posixpath.relpath(file, folder), self.texts[file]) for file in files if file != path)
        return f"file {_digest([self.texts[path], *(part for pair in beside for part in pair)])}"


NO_CODE = Code()


def read_code(folder: Path, names: Iterable[str], plugins: Iterable[str] = (), modules: Iterable[str] = ()) -> Code:
    """Read files, and what they import from beside them. What cannot be read is kept as a fault.

    Args:
        folder: the spec's, which the names are relative to.
        names: of files that have components.
        plugins: of files that have hooks.
        modules: installed modules that have components.
    """
    base = Path(os.path.abspath(folder)).as_posix()

    def absolute(name: str) -> str:
        return posixpath.normpath(posixpath.join(base, name))

    hooked = [absolute(name) for name in dict.fromkeys(plugins)]
    wanted = [*dict.fromkeys([*hooked, *map(absolute, names)])]
    if not wanted:
        return Code(modules=tuple(sorted({*modules})))
    texts: dict[str, str] = {}
    faults: dict[str, str] = {}

    def read(path: str) -> str:
        if path not in texts:
            texts[path] = _text(path)
        return texts[path]

    top = posixpath.commonpath([base, *map(posixpath.dirname, wanted)])
    for path in wanted:
        try:
            _closure([path], os.path.isfile, read, top)
        except ValueError as error:
            faults[path] = str(error)
            texts.pop(path, None)
    root = posixpath.commonpath([base, *map(posixpath.dirname, [*texts, *faults])])

    def below(path: str) -> str:
        return posixpath.relpath(path, root)

    return Code(
        texts={below(path): text for path, text in texts.items()},
        base="" if base == root else below(base),
        plugins=tuple(map(below, hooked)),
        modules=tuple(sorted({*modules})),
        faults={below(path): fault for path, fault in faults.items()},
        root=root,
    )


def _closure(files: list[str], exists: Callable[[str], bool], read: Callable[[str], str], top: str) -> list[str]:
    """List files and all that they import from beside them.

    Raises:
        ValueError: one cannot be read, or there are too many.
    """
    found = dict.fromkeys(files)
    waiting = [*files]
    while waiting:
        file = waiting.pop()
        text = read(file)
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue  # which is told when it is imported
        new = [path for path in imported(tree, file, exists, top) if path not in found]
        found.update(dict.fromkeys(new))
        waiting += dict.fromkeys(new)
        if len(found) > _MOST_FILES:
            raise ValueError(f"imports more than {_MOST_FILES} files from beside it: make it an installed package")
    return list(found)


def _text(path: str) -> str:
    try:
        if not os.path.isfile(path):
            raise ValueError(f"there is no file {path}")
        if os.path.getsize(path) > _MOST_BYTES:
            raise ValueError(f"{path} has more than {_MOST_BYTES:,} bytes, which is no file of code")
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {first_line(error)}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode(errors="surrogatepass")
        digest.update(f"{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]
