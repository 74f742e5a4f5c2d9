"""Plugins that observe a trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from framework._errors import PluginError
from framework._registry import Registry
from framework._stage import Trial


@dataclass(frozen=True)
class Observers:
    """Tells plugins what happens to a trial.

    Attributes:
        registry: has the plugins.
        trial: the trial.
    """

    registry: Registry
    trial: Trial

    def tell(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call a lifecycle hook; what a plugin draws at random there changes nothing for the trial.

        Returns:
            What the plugins gave, each with its distribution.
        """
        if not self.registry.observed(hook):
            return []
        device = self.trial.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            return self.registry.tell(hook, trial=self.trial, **arguments)

    def measured(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """What was measured, with what plugins measure besides.

        Raises:
            PluginError: a plugin gave what is no metric, or one that is taken.
        """
        known = dict(metrics)
        for source, more in self.tell("epoch_ended", metrics=metrics):
            if not isinstance(more, Mapping | None):
                raise PluginError(f"{source}: epoch_ended must return metrics by name, not {type(more).__name__}")
            for name, value in (more or {}).items():
                if name in known:
                    raise PluginError(f"{source}: epoch_ended gave {name!r}, which is measured already")
                if not isinstance(value, int | float):
                    raise PluginError(f"{source}: epoch_ended gave {value!r} as {name!r}, not a number")
                known[name] = float(value)
        return known
