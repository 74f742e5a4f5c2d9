"""The plugins of installed distributions."""

import re
import time
from functools import cache
from importlib import metadata

from framework._errors import PluginError, describe, nearest
from framework._registry.code import code_of
from framework._registry.registry import Registry

GROUP = "framework"
_SELF = "framework"


@cache
def installed(disabled: frozenset[str] = frozenset()) -> Registry:
    """The registry of all installed plugins, built once per process.

    A plugin that cannot be used takes nothing else down: it is noted, and told where something of it is missing.

    Args:
        disabled: names of distributions to leave out.

    Raises:
        PluginError: one of these is not installed.
    """
    registry = Registry(disabled=disabled)
    points = [(point, *_named(point)) for point in metadata.entry_points(group=GROUP)]
    left_out = {_normal(name) for name in disabled}
    others = {name for _, name, _ in points if name != _SELF}
    for unknown in left_out - others:
        raise PluginError(f"--disable-plugin: there are no plugins of {unknown!r} ({nearest(unknown, others)})")
    for point, name, source in points:
        if name in left_out:
            registry.reject(source, point.value, f"{source} is disabled (--disable-plugin)", disabled=True)
            continue
        began = time.perf_counter()
        try:
            if name != _SELF:
                _check_version(point.dist, source)
            plugin = _load(point, source)
            seconds = time.perf_counter() - began
            # Of the framework neither version nor code counts, see `framework._plan.RESULTS`.
            origin = _SELF if name == _SELF else f"{source} {code_of(point)}".strip()
            registry.add(plugin, source, point.value, seconds, origin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may answer to every name, and with anything
            known = isinstance(error, PluginError)
            registry.reject(source, point.value, str(error) if known else f"{source} cannot be used: {describe(error)}")
    return registry


def _normal(name: str) -> str:
    """Normalise a distribution's name as the package index does."""
    return re.sub("[-_.]+", "-", name).lower()


def _named(point: metadata.EntryPoint) -> tuple[str, str]:
    """The name of its distribution to compare by, and name and version to show; the module's if it has none."""
    dist = point.dist
    if dist is None:
        return point.value, point.value
    about = dist.metadata  # read anew each time, the README included
    return _normal(about["Name"]), f"{about['Name']} {about['Version']}"


def _check_version(dist: metadata.Distribution | None, source: str) -> None:
    """pip sees to it, unless it was told not to, or the framework was exchanged afterwards."""
    from packaging.requirements import InvalidRequirement, Requirement  # not needed without others' plugins

    here = metadata.version(_SELF)
    for text in (dist.requires if dist else None) or ():
        try:
            required = Requirement(text)
        except InvalidRequirement:
            continue  # pip has accepted it, and it is not about us
        if _normal(required.name) == _SELF and not required.specifier.contains(here, prereleases=True):
            raise PluginError(
                f"{source} needs framework{required.specifier}, and this is {here}: "
                f"upgrade framework, or install another version of {source.split()[0]}"
            )


def _load(point: metadata.EntryPoint, source: str) -> object:
    try:
        return point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever it does when imported, the user must learn which one it was
        raise PluginError(
            f"plugin {point.name!r} of {source} ({point.value}) cannot be imported: {describe(error)}"
        ) from error
