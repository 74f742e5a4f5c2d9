"""Plugins that observe a trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from framework._errors import PluginError
from framework._registry import Registry
from framework._reported import plain_metrics
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
            try:
                numbers = plain_metrics({} if more is None else more)
            except ValueError as error:
                raise PluginError(f"{source}: epoch_ended: {error}") from None
            for name in numbers:
                if name in known:
                    raise PluginError(f"{source}: epoch_ended: {name!r} is measured already")
            known |= numbers
        return known
