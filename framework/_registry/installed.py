"""The plugins of installed distributions."""

import time
from functools import cache
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from framework._errors import PluginError, nearest
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
    points = [(point, _name(point)) for point in metadata.entry_points(group=GROUP)]
    left_out = {canonicalize_name(name) for name in disabled}
    others = {name for _, name in points if name != _SELF}
    for unknown in left_out - others:
        raise PluginError(f"--disable-plugin: there are no plugins of {unknown!r} ({nearest(unknown, others)})")
    for point, name in points:
        source = _source(point)
        if name in left_out:
            registry.reject(source, point.value, f"{source} is disabled (--disable-plugin)", disabled=True)
            continue
        began = time.perf_counter()
        try:
            _check_version(point)
            plugin = _load(point)
            registry.add(plugin, source, point.value, time.perf_counter() - began)
        except PluginError as error:
            registry.reject(source, point.value, str(error))
    return registry


def _name(point: metadata.EntryPoint) -> str:
    return canonicalize_name(point.dist.name) if point.dist else point.value


def _source(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _check_version(point: metadata.EntryPoint) -> None:
    """pip sees to it, unless it was told not to, or the framework was exchanged afterwards."""
    if _name(point) == _SELF:
        return
    here = metadata.version(_SELF)
    for text in (point.dist.requires if point.dist else None) or ():
        try:
            required = Requirement(text)
        except InvalidRequirement:
            continue  # pip has accepted it, and it is not about us
        if canonicalize_name(required.name) == _SELF and not required.specifier.contains(here, prereleases=True):
            raise PluginError(
                f"{_source(point)} needs framework{required.specifier}, and this is {here}: "
                f"upgrade framework, or install another version of {_name(point)}"
            )


def _load(point: metadata.EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # whatever it does when imported, the user must learn which one it was
        raise PluginError(
            f"plugin {point.name!r} of {_source(point)} ({point.value}) cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
