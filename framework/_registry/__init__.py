"""The registry: finds plugins, looks components up by kind and name, and has the hooks of observers."""

from framework._registry.installed import installed
from framework._registry.registry import Plugin, Registry

__all__ = ["Plugin", "Registry", "installed"]
