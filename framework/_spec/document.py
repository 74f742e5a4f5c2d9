"""Files to nodes: the specs that a spec extends are merged in."""

import os
import stat
from collections.abc import Callable
from pathlib import Path as FilePath

from framework._errors import Problem, SpecError
from framework._paths import expand_home
from framework._spec.build import Builder
from framework._spec.node import HOLE, Mark, Node, Path, merge
from framework._spec.syntax import compose, position

MOST_BYTES = 10**6
_SHOWN = 300
_LONGEST_CHAIN = 50  # of specs that extend each other


def read(file: FilePath, found: list[Problem]) -> Node:
    """Read a spec and the specs that it extends.

    Args:
        file: the spec.
        found: takes the mistakes after which reading can go on.

    Returns:
        The top-level mapping, without ``extends``. A base's ``name`` is not inherited: it names the base.

    Raises:
        SpecError: the file, or one that it extends, cannot be read as a mapping at all.
    """
    return _read(file, (), found)


def parse(text: str, file: str, found: list[Problem]) -> Callable[[Path], Node]:
    """Parse a value that was given on the command line.

    Args:
        text: YAML.
        file: what to call its place.
        found: takes the mistakes after which reading can go on.

    Returns:
        A function of the path at which the value is to stand.

    Raises:
        SpecError: it is no YAML.
    """
    raw = compose(text, file, inline=True)
    if raw is None:
        return lambda path: Node(None, Mark(file), path)
    builder = Builder(file, found, inline=True)
    return lambda path: builder.tree(raw, path)


def _read(file: FilePath, chain: tuple[FilePath, ...], found: list[Problem]) -> Node:
    name = str(file)
    raw = compose(_text(file), name)
    if raw is None:
        raise SpecError([Problem(name, 1, 1, "", "the file is empty")])
    root = Builder(name, found).tree(raw, ())
    if not isinstance(root.value, dict):
        message = "a spec must be a mapping (model: …, data: …, stages: …)"
        raise SpecError([*found, root.problem(message)])
    if "extends" not in root.value:
        return root
    base = _base(root.value["extends"], file, (*chain, file.resolve()), found)
    own = {key: child for key, child in root.value.items() if key != "extends"}
    if base is None:
        # Most of what the file leaves out is in the base: to say that it is missing would mislead.
        return Node({**dict.fromkeys(("model", "data", "stages"), _hole(root)), **own}, root.mark, (), root.keys)
    value = {key: child for key, child in base.value.items() if key != "name"}
    for key, child in own.items():
        value[key] = merge(value[key], child) if key in value else child
    return Node(value, root.mark, (), {**base.keys, **root.keys})


def _base(extends: Node, file: FilePath, chain: tuple[FilePath, ...], found: list[Problem]) -> Node | None:
    if not isinstance(extends.value, str):
        if extends.value is not HOLE:
            found.append(extends.problem(f"must be the path of another spec, not {extends.shown}"))
        return None
    try:
        base = file.parent / expand_home(extends.value)
    except ValueError as error:
        found.append(extends.problem(str(error)))
        return None
    if not os.path.isfile(base):
        found.append(extends.problem(f"there is no file {str(base)[:_SHOWN]!r}"))
    elif len(chain) > _LONGEST_CHAIN:
        found.append(extends.problem(f"more than {_LONGEST_CHAIN} specs extend each other"))
    elif base.resolve() in chain:
        circle = [*chain[chain.index(base.resolve()) :], base]
        found.append(extends.problem(f"specs extend each other: {' -> '.join(f.name for f in circle)}"))
    else:
        return _read(base, chain, found)
    return None


def _text(file: FilePath) -> str:
    content = _content(file)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = position(content[: error.start].decode("utf-8-sig"))
        message = f"this is no UTF-8 text (byte 0x{content[error.start]:02x})"
        raise SpecError([Problem(str(file), line, column, "", message)]) from None


def _content(file: FilePath) -> bytes:
    """What is in a file, unless it has no end, or one that is far away."""
    try:
        about = file.stat()
        size = about.st_size
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
            message = "cannot be read: it is no regular file"
        elif size > MOST_BYTES:
            message = f"a spec has at most {MOST_BYTES:,} bytes, and this file has {size:,}"
        else:
            with open(file, "rb", opener=_at_once) as opened:
                return opened.read(MOST_BYTES) or b""  # None: there would be a wait
    except FileNotFoundError:
        message = "there is no such file"
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise SpecError([Problem(str(file)[:_SHOWN], 0, 0, "", message)])


def _at_once(path: str, flags: int) -> int:
    """Open a file such that reading it does not wait, as it would for some files of Linux's /proc."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _hole(node: Node) -> Node:
    return Node(HOLE, node.mark, node.path)
