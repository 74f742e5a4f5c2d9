"""The registry: finds plugins, and looks components up by kind and name."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from framework import _hookspecs as hookspecs
from framework._component import KINDS, Entry
from framework._errors import PluginError, nearest

GROUP = "framework"


class Registry:
    """All components of a set of plugins.

    Args:
        plugins: (plugin, source) pairs; the source is named in errors, such as ``my-package 1.2``.

    Raises:
        PluginError: a plugin misspells a hook, registers something that is no component, or claims a taken name.
    """

    def __init__(self, plugins: Iterable[tuple[object, str]]) -> None:
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
        manager = pluggy.PluginManager("framework")
        manager.add_hookspecs(hookspecs)
        sources: dict[int, str] = {}
        for plugin, source in plugins:
            if id(plugin) in sources:
                raise PluginError(f"{source} registers the same plugin as {sources[id(plugin)]}: {plugin!r}")
            sources[id(plugin)] = source
            _check_hooks(manager, plugin, source)
            try:
                # A name of its own: by default pluggy takes the module's, and refuses a second of that name.
                manager.register(plugin, name=str(len(sources)))
            except pluggy.PluginValidationError as error:
                raise PluginError(f"{source}: {error}") from error
        for kind, (hook, _) in KINDS.items():
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                source = sources[id(implementation.plugin)]
                try:
                    registered = implementation.function()
                except Exception as error:  # as for a plugin that cannot be imported
                    raise PluginError(f"{source}: {hook} failed: {type(error).__name__}: {error}") from error
                self._add(kind, hook, registered, source)

    def _add(self, kind: str, hook: str, registered: Any, source: str) -> None:
        if not isinstance(registered, Mapping):
            raise PluginError(f"{source}: {hook} must return a mapping of names, not {type(registered).__name__}")
        taken = self._entries[kind]
        for name, factory in registered.items():
            if name in taken:
                raise PluginError(f"{kind} {name!r} is registered by both {taken[name].source} and {source}")
            if not callable(factory):
                raise PluginError(f"{source}: {kind} {name!r} must be callable, not {type(factory).__name__}")
            taken[name] = Entry(kind, name, factory, source)

    def entry(self, kind: str, name: str) -> Entry | None:
        """The component of that kind and name, or None."""
        return self._entries[kind].get(name)

    def names(self, kind: str) -> Sequence[str]:
        """All names of that kind, sorted."""
        return sorted(self._entries[kind])

    def get(self, kind: str, name: str) -> Entry:
        """The component of that kind and name.

        Raises:
            PluginError: there is none; names the nearest.
        """
        if kind not in KINDS:
            raise PluginError(f"unknown kind {kind!r} ({nearest(kind, KINDS)})")
        entry = self.entry(kind, name)
        if entry is None:
            raise PluginError(f"unknown {kind} {name!r} ({nearest(name, self.names(kind))})")
        return entry


def _check_hooks(manager: pluggy.PluginManager, plugin: object, source: str) -> None:
    """pluggy takes a hook that it does not know for a hook of nobody's, silently."""
    hooks = [hook for hook, _ in KINDS.values()]
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        hook = None if options is None else options.get("specname") or name
        if hook is not None and hook not in hooks:
            raise PluginError(f"{source}: there is no hook {hook!r} ({nearest(hook, hooks)})")


@cache
def installed() -> Registry:
    """The registry of all installed plugins, built once per process.

    Raises:
        PluginError: one cannot be imported; names the distribution and the entry point.
    """
    return Registry((_load(point), _source(point)) for point in metadata.entry_points(group=GROUP))


def _source(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _load(point: metadata.EntryPoint) -> ModuleType:
    try:
        plugin: ModuleType = point.load()
    except Exception as error:  # whatever a plugin raises while it is imported, the user must learn which one it was
        raise PluginError(
            f"plugin {point.name!r} of {_source(point)} ({point.value}) cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    return plugin
