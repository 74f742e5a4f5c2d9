"""Check that this machine has the plugins, and the code of them, that a trial was planned with."""

import socket

from framework._errors import PluginError
from framework._plan import TrialPlan
from framework._registry import Registry


def check_plugins(plan: TrialPlan, registry: Registry) -> None:
    """Check that a trial's plugins are here, as they were where it was planned.

    Raises:
        PluginError: one is missing, or has other code.
    """
    missing = sorted({*plan.plugins} - {*registry.sources})
    if missing:
        found = "; ".join([*registry.sources, *registry.broken])
        raise PluginError(f"{socket.gethostname()} lacks {', '.join(missing)}, which the trial uses; it has {found}")
    changed = [
        name for name, origin in zip(plan.plugins, plan.origins, strict=False) if registry.origins[name] != origin
    ]
    if changed:
        raise PluginError(
            f"{socket.gethostname()} has other code of {', '.join(changed)} than the machine that planned the trial: "
            "install the same, or begin anew if it was edited meanwhile"
        )
