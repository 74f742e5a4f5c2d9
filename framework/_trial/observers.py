"""Call the plugins that observe a trial, and hand on what plugins log."""

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from framework._errors import INTERRUPTS, PluginError, describe, readable
from framework._random import random_state_kept
from framework._ranks import alone, rank
from framework._registry import Registry
from framework._reported import plain_metrics
from framework._stage import Trial


@dataclass(frozen=True)
class Observers:
    """Calls the lifecycle hooks of plugins.

    Where several processes run a trial, they are called in the first one, as if it were the only one.

    When a plugin fails in one, that is logged, and the plugin is not called again for this trial. The trial goes on, as
    observers do not change it.

    Attributes:
        registry: has the plugins.
        trial: the trial.
        failed: the distributions whose plugin has failed.
    """

    registry: Registry
    trial: Trial
    failed: set[str] = field(default_factory=set)

    def tell(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call a lifecycle hook; random numbers that a plugin draws there change nothing for the trial.

        Returns:
            What each plugin returned, with its distribution.
        """
        if rank() or not self.registry.observed(hook):
            return []
        given = []
        with random_state_kept(), torch.no_grad(), alone():
            for source, call in self.registry.implementations(hook):
                if source in self.failed:
                    continue
                try:
                    given.append((source, call(trial=self.trial, **arguments)))
                except INTERRUPTS:
                    raise
                except BaseException as error:
                    self._leave_out(source, hook, error)
        return given

    def measured(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Return what was measured, together with what plugins measure besides."""
        known = dict(metrics)
        for source, more in self.tell("epoch_ended", metrics=metrics):
            try:
                numbers = plain_metrics({} if more is None else more)
                if taken := known.keys() & numbers:
                    raise ValueError(f"{min(taken)!r} is measured already")
                known |= numbers
            except INTERRUPTS:
                raise
            except BaseException as error:  # what was given is the plugin's own code as well
                why = str(error) if isinstance(error, ValueError) else describe(error)
                self._leave_out(source, "epoch_ended", PluginError(f"{source}: epoch_ended: {why}"))
        return known

    def _leave_out(self, source: str, hook: str, error: BaseException) -> None:
        if self.registry.strict:
            raise error
        self.failed.add(source)
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        logging.getLogger(__name__).warning(
            "%s failed in %s, and observes this trial no more: %s%s", source, hook, describe(error), where
        )


@contextmanager
def notes_to(note: Callable[[str], None]) -> Iterator[None]:
    """Pass on, within the context, what plugins log as a warning through the logger ``framework``."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(readable(record.getMessage()))

    logger, handler = logging.getLogger("framework"), Handler(logging.WARNING)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
