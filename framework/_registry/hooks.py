"""What a plugin implements and registers."""

from collections.abc import Mapping, Sequence
from types import ModuleType

import pluggy

from framework import _hookspecs as hookspecs
from framework._code import module_in, place_in, place_of
from framework._component import KINDS, Entry
from framework._errors import PluginError, describe, nearest

HOOKS = (*(kind.hook for kind in KINDS.values()), *hookspecs.LIFECYCLE, *hookspecs.RESULTS)


def package_of(plugin: object) -> str:
    """Return the top-level package or module that a plugin's code is in."""
    name = getattr(plugin, "__name__", None) if isinstance(plugin, ModuleType) else type(plugin).__module__
    return str(name).partition(".")[0]


def hooks_of(manager: pluggy.PluginManager, plugin: object, source: str) -> list[str]:
    """List the hooks that a plugin implements.

    Raises:
        PluginError: it has one that is unknown, which pluggy would ignore silently, or a wrapper.
    """
    found = []
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        hook = options.get("specname") or name
        where = place_of(getattr(plugin, name)) or source
        if hook not in HOOKS:
            raise PluginError(f"{where}: there is no hook {hook!r} ({nearest(hook, HOOKS)})")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{where}: {hook} cannot be wrapped: implement it without wrapper=True")
        found.append(hook)
    return found


def components_of(plugin: object, kind: str, source: str, hooks: Sequence[str]) -> list[Entry]:
    """List the components of a kind that a plugin registers.

    Raises:
        PluginError: it fails, or these are none.
    """
    hook = KINDS[kind].hook
    if hook not in hooks:
        return []
    try:
        registered = getattr(plugin, hook)()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as for a plugin that cannot be imported
        where = place_in(error.__traceback__) or source
        raise PluginError(f"{where}: {hook} failed: {describe(error)}") from error
    where = place_of(getattr(plugin, hook)) or source
    if not isinstance(registered, Mapping):
        raise PluginError(f"{where}: {hook} must return a mapping of names, not {type(registered).__name__}")
    for name, factory in registered.items():
        if not callable(factory) and not (isinstance(factory, str) and module_in(factory)):
            named = f"{factory!r}, which is not of the form 'module:name'" if isinstance(factory, str) else None
            raise PluginError(f"{where}: {kind} {name!r} must be callable, not {named or type(factory).__name__}")
    return [Entry(kind, name, factory, source) for name, factory in registered.items()]
