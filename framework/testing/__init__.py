"""Helpers for the tests of plugins: a tiny trial to run a component on, and checks of the contracts it must keep.

Every check takes a component as its plugin registers it, and its parameters as YAML gives them. It raises an
AssertionError that says which contract is broken, and how to mend that. For every kind, a component must have a
docstring, take those parameters, and give back validated ones as JSON that stand for the same component again.
"""

from framework.testing._calls import check_dataset, check_metric, check_model, check_schedule
from framework.testing._pruning import check_criterion, check_distribution, check_sparsifier
from framework.testing._tiny import run_stage, tiny_data, tiny_trial
from framework.testing._training import check_loss, check_observer, check_optimizer, check_stage
from framework.testing._transforms import check_transform

__all__ = [
    "check_criterion",
    "check_dataset",
    "check_distribution",
    "check_loss",
    "check_metric",
    "check_model",
    "check_observer",
    "check_optimizer",
    "check_schedule",
    "check_sparsifier",
    "check_stage",
    "check_transform",
    "run_stage",
    "tiny_data",
    "tiny_trial",
]
