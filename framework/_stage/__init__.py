"""Stages, the trial that they work on, and what it reports."""

from framework._stage.record import Record
from framework._stage.stage import Stage
from framework._stage.trial import Trial

__all__ = ["Record", "Stage", "Trial"]
