"""How a trial's weights are spread is kept after every stage."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_observers import SPEC, registry_of, run
from torch import nn

import framework_plugins.histograms
from framework import Trial
from framework.testing import check_observer
from framework_plugins.histograms import BINS, FILE, spread


def test_it_keeps_to_what_an_observer_promises() -> None:
    check_observer(framework_plugins.histograms)


def test_weights_are_counted_with_zeros_and_what_is_far_out_apart() -> None:
    weights = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    weights[:2000] = 0
    weights[2000:2003] = torch.tensor([50.0, -60.0, 40.0])
    found = spread([weights[:5000].view(50, 100), weights[5000:]])
    others = weights[2000:].double().numpy()
    limit = found["limit"]
    assert limit == pytest.approx(4 * np.sqrt((others**2).mean()), rel=1e-2)
    assert found["zeros"] == 2000
    assert found["beyond"] == (np.abs(others) > limit).sum() == 3
    counts = found["counts"]
    assert len(counts) == BINS
    assert sum(counts) == 10_000 - 2000 - 3
    assert counts == np.histogram(others.astype(np.float32), BINS, (-limit, limit))[0].tolist()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_without_a_spread_have_no_bins(value: float) -> None:
    found = spread([torch.full((3, 4), value)])
    assert found == {"limit": 0.0, "zeros": 12 if value == 0 else 0, "beyond": 0 if value == 0 else 12, "counts": []}


def states(trial: Trial) -> list[dict[str, Any]]:
    return list(json.loads(trial.artifacts[FILE]))


def test_every_stage_adds_one_and_the_start_is_there(tmp_path: Path) -> None:
    trial, _ = run(registry_of(framework_plugins.histograms), tmp_path)
    found = states(trial)
    assert [(state["stage"], state["name"]) for state in found] == [
        (-1, "the start"),
        (0, "train"),
        (1, "prune"),
        (2, "train"),
    ]
    total = sum(weight.numel() for weight in trial.weights().values())
    for state in found:
        assert state["zeros"] + state["beyond"] + sum(state["counts"]) == total
        assert len(json.dumps(state)) < 2000
    assert [state["zeros"] for state in found] == [0, 0, round(total / 2), round(total / 2)]


def test_a_trial_that_goes_on_from_the_store_has_all_of_them(tmp_path: Path) -> None:
    registry = registry_of(framework_plugins.histograms)
    trial, _ = run(registry, tmp_path)
    again, _ = run(registry, tmp_path)
    assert again.artifacts[FILE] == trial.artifacts[FILE]
    shared, _ = run(registry, tmp_path, SPEC.replace("lr: 0.01", "lr: 0.02"))
    assert states(shared)[:3] == states(trial)[:3]
    assert len(states(shared)) == 4
    assert states(shared)[3] != states(trial)[3]


def test_it_is_small_and_quick_on_a_large_network(make_trial: Callable[..., Trial]) -> None:
    layers = [nn.Linear(1024, 1024) for _ in range(11)]  # as many weights as ResNet-18 has
    seconds = []
    for _ in range(3):
        began = time.process_time()
        found = spread(layer.weight for layer in layers)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.5  # a tenth of that on an idle machine
    assert len(json.dumps(found)) < 2000
