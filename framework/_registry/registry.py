"""Components by kind and name, and the plugins that they come from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from traceback import walk_tb
from types import ModuleType
from typing import Any

import pluggy

from framework import _hookspecs as hookspecs
from framework._component import KINDS, Entry, unknown
from framework._errors import PluginError, describe, located, locations, nearest

HOOKS = (*(kind.hook for kind in KINDS.values()), *hookspecs.LIFECYCLE, *hookspecs.RESULTS)


@dataclass(frozen=True)
class Plugin:
    """One plugin: a module that a distribution names as an entry point.

    Attributes:
        source: the distribution and its version, such as ``my-package 1.2``.
        module: what it is called.
        hooks: those that it implements.
        components: those that it has registered.
        seconds: how long it took to import and to register.
        fault: why it cannot be used; None if it can.
        disabled: that is what the user wants.
    """

    source: str
    module: str
    hooks: tuple[str, ...] = ()
    components: tuple[Entry, ...] = ()
    seconds: float = 0.0
    fault: str | None = None
    disabled: bool = False


class Registry:
    """All components of a set of plugins.

    Args:
        plugins: (plugin, source) pairs; the source is named in errors, such as ``my-package 1.2``.

    Attributes:
        plugins: those that were added or rejected.
        disabled: distributions that were left out.
        origins: by the distributions of plugins that were added, what stands for them in stage keys: the same, or what
            says which code it is where name and version do not.
        strict: an observer that fails is an error, instead of being left out.

    Raises:
        PluginError: as `add`.
    """

    strict = False

    def __init__(self, plugins: Iterable[tuple[object, str]] = (), disabled: frozenset[str] = frozenset()) -> None:
        self.plugins: list[Plugin] = []
        self.disabled = disabled
        self.origins: dict[str, str] = {}
        self._entries: dict[str, dict[str, list[Entry]]] = {kind: {} for kind in KINDS}
        self._sources: dict[int, str] = {}
        self._packages: dict[str, str] = {}
        self._manager = pluggy.PluginManager("framework")
        self._manager.add_hookspecs(hookspecs)
        for plugin, source in plugins:
            self.add(plugin, source)

    def add(
        self, plugin: object, source: str, module: str = "", seconds: float = 0.0, origin: str | None = None
    ) -> None:
        """Register a plugin whole, or not at all.

        Args:
            plugin: has the hooks.
            source: its distribution and that one's version.
            module: what it is called.
            seconds: how long it took to import.
            origin: what stands for the distribution in stage keys; by default the source.

        Raises:
            PluginError: it misspells a hook or its arguments, or registers something that is no component.
        """
        if id(plugin) in self._sources:
            raise PluginError(f"{source} registers the same plugin as {self._sources[id(plugin)]}: {plugin!r}")
        hooks = _hooks(self._manager, plugin, source)
        try:
            # A name of its own: by default pluggy takes the module's, and refuses a second of that name.
            self._manager.register(plugin, name=f"{len(self.plugins) + 1}: {source}")
        except pluggy.PluginValidationError as error:
            raise PluginError(f"{source}: {error}") from error
        try:
            found = [
                replace(entry, origin=origin or source)
                for kind in KINDS
                for entry in _components(plugin, kind, source, hooks)
            ]
        except PluginError:
            self._manager.unregister(plugin)
            raise
        for entry in found:
            self._entries[entry.kind].setdefault(entry.name, []).append(entry)
        self._sources[id(plugin)] = source
        self._packages[_package(plugin)] = source
        self.origins[source] = origin or source
        self.plugins.append(Plugin(source, module, tuple(hooks), tuple(found), seconds))

    def reject(self, source: str, module: str, fault: str, *, disabled: bool = False) -> None:
        """Note a plugin down that cannot be used, for those who miss what it has."""
        self.plugins.append(Plugin(source, module, fault=fault, disabled=disabled))

    @property
    def broken(self) -> Sequence[str]:
        """The faults of plugins that cannot be used; a fault that several of a distribution share is listed once."""
        return list(dict.fromkeys(plugin.fault for plugin in self.plugins if plugin.fault))

    @property
    def sources(self) -> Sequence[str]:
        """The distributions whose plugins can be used."""
        return sorted({plugin.source for plugin in self.plugins if not plugin.fault})

    @property
    def observers(self) -> Sequence[str]:
        """The distributions whose plugins observe every trial."""
        return sorted({plugin.source for plugin in self.plugins if {*plugin.hooks} & {*hookspecs.LIFECYCLE}})

    def entry(self, kind: str, name: str) -> Entry | None:
        """The component of that kind and name, or None.

        Raises:
            PluginError: several plugins claim the name.
        """
        claims = self._entries[kind].get(name, [])
        if len(claims) > 1:
            *others, last = (entry.source for entry in claims)
            raise PluginError(
                f"{kind} {name!r} is registered by both {', '.join(others)} and {last}: uninstall one, or leave it out "
                "with --disable-plugin"
            )
        return claims[0] if claims else None

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
            raise PluginError(unknown(self, kind, name))
        return entry

    def observed(self, hook: str) -> bool:
        """Whether any plugin implements this lifecycle hook."""
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    def blame(self, error: BaseException) -> None:
        """Note on an exception the plugin in whose code it was raised, unless it says already of which it is."""
        with suppress(Exception):
            packages = [
                str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__)
            ]
            source = next((self._packages[name] for name in reversed(packages) if name in self._packages), None)
            if source and not any(source in where for where in locations(error)):
                error.__notes__ = [f"in code of {source}", *locations(error)]

    def implementations(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """Those of a hook, each with its distribution.

        They take all of the hook's arguments by name. What one raises has a note that names it.
        """
        found = reversed(getattr(self._manager.hook, hook).get_hookimpls())  # as pluggy calls them
        return [
            (source := self._sources[id(one.plugin)], partial(_call, one, f"in {hook} of {source}")) for one in found
        ]


def _call(implementation: pluggy.HookImpl, where: str, **arguments: Any) -> Any:
    with located(where):
        return implementation.function(**{name: arguments[name] for name in implementation.argnames})


def _package(plugin: object) -> str:
    """The package, or the module outside all packages, whose code a plugin is."""
    name = getattr(plugin, "__name__", None) if isinstance(plugin, ModuleType) else type(plugin).__module__
    return str(name).partition(".")[0]


def _hooks(manager: pluggy.PluginManager, plugin: object, source: str) -> list[str]:
    """The hooks that a plugin implements. pluggy takes one that it does not know for a hook of nobody's, silently."""
    found = []
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        hook = options.get("specname") or name
        if hook not in HOOKS:
            raise PluginError(f"{source}: there is no hook {hook!r} ({nearest(hook, HOOKS)})")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{source}: {hook} cannot be wrapped: implement it without wrapper=True")
        found.append(hook)
    return found


def _components(plugin: object, kind: str, source: str, hooks: Sequence[str]) -> list[Entry]:
    hook = KINDS[kind].hook
    if hook not in hooks:
        return []
    try:
        registered = getattr(plugin, hook)()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as for a plugin that cannot be imported
        raise PluginError(f"{source}: {hook} failed: {describe(error)}") from error
    if not isinstance(registered, Mapping):
        raise PluginError(f"{source}: {hook} must return a mapping of names, not {type(registered).__name__}")
    for name, factory in registered.items():
        if not callable(factory):
            raise PluginError(f"{source}: {kind} {name!r} must be callable, not {type(factory).__name__}")
    return [Entry(kind, name, factory, source) for name, factory in registered.items()]
