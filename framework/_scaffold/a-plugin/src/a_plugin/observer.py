"""An observer: a hook that is called in every trial, for as long as this package is installed.

There are more: ``trial_started``, ``stage_started``, ``stage_ended`` and ``trial_ended``.
"""

from collections.abc import Mapping

import torch
from framework import Trial, hookimpl


@hookimpl
def epoch_ended(trial: Trial) -> Mapping[str, float]:
    """Report the norm of each layer's weights, besides what has been measured.

    Args:
        trial: its network is not to be changed.

    Returns:
        ``a_plugin/<layer>`` for each layer.
    """
    weights = trial.weights()
    # All at once: a GPU would be waited for anew with each.
    norms = torch.stack([weight.detach().norm() for weight in weights.values()]).tolist()
    return {f"a_plugin/{name.removesuffix('.weight')}": norm for name, norm in zip(weights, norms, strict=True)}
