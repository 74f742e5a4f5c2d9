"""A digest of a distribution's code, for stage keys, where its version does not identify the code.

Name and version identify what was installed from a package index. What was installed from a folder (editable or not) or
a URL, or only lies on the path, may be changed without a new version: there the content of its modules counts too.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path


def code_of(point: metadata.EntryPoint) -> str:
    """Digest the modules that the entry point's distribution provides; empty if its version identifies them.

    These are all ``.py`` files of its top-level packages and modules, of which there is at least the entry point's.
    Read once per process, when plugins are imported: what is changed later is not what this process runs.
    """
    dist = point.dist
    own = [other.module for other in dist.entry_points if other.group == point.group] if dist else [point.module]
    return code_of_modules(dist, *own)


def code_of_modules(dist: metadata.Distribution | None, *modules: str) -> str:
    """Digest some modules and all others of their distribution; empty if its version identifies them.

    Args:
        dist: the distribution; None if they only lie on the path.
        modules: of it.
    """
    if dist is None:
        return _digest(frozenset(modules))
    return "" if _from_index(dist) else _digest(frozenset({*modules, *(dist.read_text("top_level.txt") or "").split()}))


def _from_index(dist: metadata.Distribution) -> bool:
    """Tell whether it is from a package index: installers note any other origin (PEP 376, PEP 610)."""
    return dist.read_text("INSTALLER") is not None and dist.read_text("direct_url.json") is None


@cache
def _digest(modules: frozenset[str]) -> str:
    files = {path: name for module in modules for name, path in _files(module)}
    digest = hashlib.sha256()
    for path, name in sorted(files.items(), key=lambda file: file[1]):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16] if files else ""


def _files(module: str) -> Iterator[tuple[str, Path]]:
    """List the files of the top-level package or module that a module is in: names below it, and paths."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):  # it cannot be imported, which is told elsewhere
            return
        if spec is None:
            return
        if spec.origin is None and count < len(parts):
            continue  # a namespace, in which other distributions may have packages too
        folders = spec.submodule_search_locations
        for folder in map(Path, folders or ()):
            for path in folder.rglob("*.py"):
                if "__pycache__" in path.parts:
                    continue
                yield f"{name}/{path.relative_to(folder).as_posix()}", path
        if folders is None and spec.origin and Path(spec.origin).is_file():
            yield name, Path(spec.origin)
        return
