"""The registry of components by kind and name, and of the plugins that they come from."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pluggy

from framework import _hookspecs as hookspecs
from framework._code import NO_CODE, Code, canonical, file_in, module_in, place_in, place_of, read_code
from framework._component import KINDS, Entry, unknown
from framework._errors import PluginError, located, locations, nearest
from framework._registry.hooks import components_of, hooks_of, package_of
from framework._registry.named import Named


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
        self._bare, self._named = self, Named(NO_CODE, {})
        self._with_code: dict[tuple[str, str], Registry] = {}
        self._manager = pluggy.PluginManager("framework")
        self._manager.add_hookspecs(hookspecs)
        for plugin, source in plugins:
            self.add(plugin, source)

    @property
    def code(self) -> Code:
        """The files among the plugins, and those that have components which are named by their files."""
        return self._named.code

    def with_code(self, code: Code) -> "Registry":
        """Return a registry with these files and modules beside the installed plugins, instead of its own.

        A file that cannot be used as a plugin is kept with the reason.
        """
        if not code:
            return self._bare
        known, which = self._bare._with_code, (code.digest, code.root)
        if which not in known:
            made = known[which] = Registry(disabled=self.disabled)
            made._take(self._bare)
            made._named = Named(code, self._bare.origins)
            made.origins |= made._named.origins
            for file, found in made._named.hooks():
                made._add_file(file, found)
        return known[which]

    def with_files(self, plugins: Sequence[Path], names: Sequence[str] = ()) -> "Registry":
        """Return a registry with files that are named from the working folder.

        Args:
            plugins: files with hooks.
            names: components that are named by their file or module.

        Raises:
            PluginError: a file among the plugins cannot be used.
        """
        here = Path.cwd()
        try:
            files = [canonical(str(file), here, here) for file in plugins]
            named = [canonical(split[0], here, here) for name in names if (split := file_in(name))]
        except ValueError as error:
            raise PluginError(f"--plugin: {error}") from None
        made = self.with_code(read_code(here, named, files, [split[0] for name in names if (split := module_in(name))]))
        for fault in (fault for file in files for fault in made.faults(file)):
            raise PluginError(fault)
        return made

    def _take(self, other: "Registry") -> None:
        """Have all plugins that another one has; what they register is not asked for again."""
        self._bare, self.strict = other, other.strict
        self.plugins, self.origins = [*other.plugins], {**other.origins}
        self._sources, self._packages = {**other._sources}, {**other._packages}
        for kind, named in other._entries.items():
            self._entries[kind] = {name: [*claims] for name, claims in named.items()}
        for name, plugin in other._manager.list_name_plugin():
            self._manager.register(plugin, name=name)

    def _add_file(self, file: str, found: object) -> None:
        try:
            if isinstance(found, PluginError):
                raise found
            if not hooks_of(self._manager, found, file):
                raise PluginError(
                    f"{file} has no hook: register what is in it (@hookimpl), or name it where it is used, "
                    f"such as {file}:Net"
                )
            self.add(found, file, file, origin=self.origins[file])
        except PluginError as error:
            self.reject(file, file, str(error))

    def add(
        self,
        plugin: object,
        source: str,
        module: str = "",
        seconds: float = 0.0,
        origin: str | None = None,
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
        hooks = hooks_of(self._manager, plugin, source)
        try:
            # A name of its own: by default pluggy takes the module's, and refuses a second of that name.
            self._manager.register(plugin, name=f"{len(self.plugins) + 1}: {source}")
        except pluggy.PluginValidationError as error:
            hook = next((hook for hook in hooks if f"{hook!r}" in str(error)), "")
            raise PluginError(f"{place_of(getattr(plugin, hook, None)) or source}: {error}") from error
        try:
            found = [
                replace(entry, origin=origin or source, place=place_of(entry.registered))
                for kind in KINDS
                for entry in components_of(plugin, kind, source, hooks)
            ]
        except PluginError:
            self._manager.unregister(plugin)
            raise
        for entry in found:
            self._entries[entry.kind].setdefault(entry.name, []).append(entry)
        self._sources[id(plugin)] = source
        self._packages[package_of(plugin)] = source
        self.origins[source] = origin or source
        self.plugins.append(Plugin(source, module, tuple(hooks), tuple(found), seconds))

    def reject(self, source: str, module: str, fault: str, *, disabled: bool = False) -> None:
        """Keep a plugin that cannot be used, with the reason, to be shown where one of its components is missed."""
        self.plugins.append(Plugin(source, module, fault=fault, disabled=disabled))

    @property
    def broken(self) -> Sequence[str]:
        """The reasons why some plugins cannot be used, each once."""
        return list(dict.fromkeys(plugin.fault for plugin in self.plugins if plugin.fault))

    def faults(self, source: str) -> Sequence[str]:
        """The reasons why the plugins of a distribution, or a file, cannot be used."""
        return [plugin.fault for plugin in self.plugins if plugin.fault and plugin.source == source]

    @property
    def sources(self) -> Sequence[str]:
        """The distributions whose plugins can be used, and the files that specs name components in."""
        return sorted(self.origins)

    @property
    def observers(self) -> Sequence[str]:
        """The distributions whose plugins observe every trial."""
        return sorted({plugin.source for plugin in self.plugins if {*plugin.hooks} & {*hookspecs.LIFECYCLE}})

    def entry(self, kind: str, name: str) -> Entry | None:
        """Return the component of that kind and name, or None.

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
        return claims[0] if claims else self._named.entry(kind, name)

    def names(self, kind: str) -> Sequence[str]:
        """List all names of that kind, sorted."""
        return sorted(self._entries[kind])

    def get(self, kind: str, name: str) -> Entry:
        """Return the component of that kind and name.

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
        """Tell whether any plugin implements this lifecycle hook."""
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    def blame(self, error: BaseException) -> None:
        """Note on an exception the plugin in whose code it was raised, unless a note names it already.

        Of a file, the line is noted.
        """
        with suppress(Exception):
            if line := place_in(error.__traceback__):
                error.__notes__ = [f"at {line}", *locations(error)]
                return
            packages = [
                str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__)
            ]
            source = next((self._packages[name] for name in reversed(packages) if name in self._packages), None)
            if source and not any(source in where for where in locations(error)):
                error.__notes__ = [f"in code of {source}", *locations(error)]

    def implementations(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """List the implementations of a hook, each with its distribution.

        They take all of the hook's arguments by name. What one raises has a note that names it.
        """
        found = reversed(getattr(self._manager.hook, hook).get_hookimpls())  # as pluggy calls them
        return [
            (source := self._sources[id(one.plugin)], partial(_call, one, f"in {hook} of {source}")) for one in found
        ]


def _call(implementation: pluggy.HookImpl, where: str, **arguments: Any) -> Any:
    with located(where):
        return implementation.function(**{name: arguments[name] for name in implementation.argnames})
