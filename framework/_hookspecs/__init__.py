"""The hooks. A plugin implements any of them with ``@framework.hookimpl``, in a module that its package names as an
entry point of the group ``framework``.

The first ones register components: each returns a mapping from the name that specs use to the component. The next,
`LIFECYCLE`, observe every trial in the process that it runs in. An implementation asks for those of a hook's arguments
that it needs. It may look at all of the trial and must change nothing of it but its artifacts. It is called with
gradients off, and torch's random state is put back after it. What it raises is told and fails no trial, which is
observed by that plugin no more. Those of `RESULTS` are called when trials have ended; what they raise is told, and
nothing else fails.
"""

from framework._hookspecs.components import (
    register_datasets,
    register_losses,
    register_metrics,
    register_models,
    register_optimizers,
    register_schedules,
    register_stages,
    register_transforms,
)
from framework._hookspecs.marks import hookimpl
from framework._hookspecs.pruning import register_criteria, register_distributions, register_sparsifiers
from framework._hookspecs.sweeps import RESULTS, sweep_figures
from framework._hookspecs.trials import LIFECYCLE, epoch_ended, stage_ended, stage_started, trial_ended, trial_started

__all__ = [
    "LIFECYCLE",
    "RESULTS",
    "epoch_ended",
    "hookimpl",
    "register_criteria",
    "register_datasets",
    "register_distributions",
    "register_losses",
    "register_metrics",
    "register_models",
    "register_optimizers",
    "register_schedules",
    "register_sparsifiers",
    "register_stages",
    "register_transforms",
    "stage_ended",
    "stage_started",
    "sweep_figures",
    "trial_ended",
    "trial_started",
]
