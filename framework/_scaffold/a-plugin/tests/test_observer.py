import pytest
import torch
from framework.testing import check_observer, tiny_trial

from a_plugin import observer


def test_it_keeps_to_what_an_observer_promises() -> None:
    check_observer(observer)


def test_it_reports_the_norms_computed_by_hand() -> None:
    trial = tiny_trial()
    weights = trial.weights()
    for weight in weights.values():
        torch.nn.init.constant_(weight, 3.0)
    expected = {f"a_plugin/{name.removesuffix('.weight')}": 3 * w.numel() ** 0.5 for name, w in weights.items()}
    assert observer.epoch_ended(trial) == pytest.approx(expected)
