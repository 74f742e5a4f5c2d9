"""The markers of hooks and of their implementations."""

import pluggy

hookspec = pluggy.HookspecMarker("framework")
hookimpl = pluggy.HookimplMarker("framework")
"""Marks a function of a plugin as the implementation of the hook of that name."""
