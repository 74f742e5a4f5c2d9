"""``framework new-plugin``."""

import keyword
import re
import shlex
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import typer

from framework._cli.plugin_from_file import chosen, package_of
from framework._component import KINDS
from framework._errors import FrameworkError, nearest
from framework._registry import installed

_OBSERVER = "observer"  # it registers no component: its hooks are called in every trial
_TEMPLATE = Path(__file__).parent.parent / "_scaffold" / "a-plugin"
_SUFFIXES = (".md", ".py", ".toml", ".typed", ".yaml")  # other files there are caches of tools
_WORDS = re.compile("a-plugin|a_plugin|framework>=0")
# A tag at the end of a template's line keeps the line only if that kind was asked for, or only if it was not.
_TAG = re.compile(r" *# (if|unless) (\w+)$")


def write_package(name: str, kinds: Sequence[str], folder: Path, source: Path | None = None) -> None:
    """Write a plugin package, whole or not at all, and print what to do with it.

    Args:
        name: of the distribution; what it registers has the name of its module.
        kinds: of what it is to register, or ``observer``; of what a file defines, such as ``loss:Focal``.
        folder: where its folder is made.
        source: a file of code that the package is made of; None: templates.

    Raises:
        BadParameter: the name cannot be used, or there is no such kind.
        FrameworkError: the folder is there already, or cannot be written.
    """
    files, brought = _from_template(name, kinds) if source is None else _from_file(name, kinds, source)
    package = folder / name
    if package.exists():
        raise FrameworkError(f"{package} is there already: choose another name or --folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Renamed when it is complete, so that there is never a part of it.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-plugin-") as temporary:
            for path, text in files.items():
                file = Path(temporary, name, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            Path(temporary, name).rename(package)
    except OSError as error:
        raise FrameworkError(f"{package} cannot be written: {error.strerror}") from error
    named = f"; specs name what it brings {', '.join(map(repr, brought))}" if brought else ""
    print(f"{package} is there{named}. What comes next:\n")
    print(f"  python -m pip install --editable {shlex.quote(f'{package}[dev]')}")
    print(f"  python -m pytest {shlex.quote(str(package))}")
    if source is None:
        print(f"  framework run {shlex.quote(str(package / 'example.yaml'))} --executor inline")


def _from_template(name: str, kinds: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The files of a package by path, and what specs name."""
    for kind in kinds:
        if kind not in (*KINDS, _OBSERVER):
            raise typer.BadParameter(f"there is no kind {kind!r} ({nearest(kind, (*KINDS, _OBSERVER))})")
    module = _module(name)
    named = [kind for kind in kinds if kind != _OBSERVER]
    _check_free(name, [(kind, module) for kind in named])
    return _files(name, module, kinds), [module] if named else []


def _from_file(name: str, kinds: Sequence[str], source: Path) -> tuple[dict[str, str], list[str]]:
    """The files of a package by path, and what specs name."""
    text, parts = chosen(source, kinds)
    module = _module(name)
    _check_free(name, [(part.kind, part.registered) for part in parts])
    files = _files(name, module, [])
    del files["example.yaml"]
    head, rule, rest = files["README.md"].partition("| --- | --- | --- |\n")
    rows = "".join(f"{part.row}\n" for part in parts)
    files["README.md"] = head + rule + rows + rest.replace("framework run example.yaml --executor inline\n", "")
    files |= package_of(name, module, source, text, parts)
    return files, [part.registered for part in parts]


def _module(name: str) -> str:
    """The import name of a distribution; nobody else may have either."""
    if not re.fullmatch(r"[A-Za-z]([\w.-]*[A-Za-z0-9])?", name, re.ASCII):
        raise typer.BadParameter(
            f"{name!r} cannot be the name of a package: take letters, digits, '-', '_' and '.', and begin with a letter"
        )
    module = re.sub(r"[-_.]+", "_", name).lower()
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise typer.BadParameter(f"{name!r} cannot be the name of a package: {module!r} is Python's own")
    with suppress(metadata.PackageNotFoundError):
        raise typer.BadParameter(f"{name!r} is taken: {name} {metadata.version(name)} is installed")
    if owners := metadata.packages_distributions().get(module):
        raise typer.BadParameter(f"{name!r} is taken: {owners[0]} installs a module {module!r}")
    return module


def _check_free(name: str, components: Iterable[tuple[str, str]]) -> None:
    """Check that nobody registers a component of this kind and name."""
    for kind, registered in components:
        if entry := installed().entry(kind, registered):
            raise typer.BadParameter(f"{name!r} is taken: {entry.source} registers {kind} {registered!r}")


def _files(name: str, module: str, kinds: Collection[str]) -> dict[str, str]:
    """The files of the package by path: those of the template that belong to these kinds, with its names."""
    words = {"a-plugin": name, "a_plugin": module, "framework>=0": f"framework>={metadata.version('framework')}"}
    unwanted = {*KINDS, _OBSERVER} - set(kinds)

    def renamed(text: str) -> str:
        return _WORDS.sub(lambda match: words[match[0]], text)

    def chosen(line: str) -> bool:
        tag = _TAG.search(line)
        return tag is None or (tag[1] == "if") != (tag[2] in unwanted)

    files = {}
    for file in sorted(_TEMPLATE.rglob("*.*")):
        if file.suffix not in _SUFFIXES or file.stem.removeprefix("test_") in unwanted:
            continue
        lines = file.read_text(encoding="utf-8").splitlines()
        text = "".join(f"{_TAG.sub('', line)}\n" for line in lines if chosen(line))
        files[renamed(file.relative_to(_TEMPLATE).as_posix())] = renamed(text)
    return files
