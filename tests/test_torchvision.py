"""All classification models of torchvision go through all that a trial does: `make test-long`."""

import gc
from pathlib import Path

import pytest
import torch
from test_trial import BUILT_IN, Reports, comparable
from torchvision import models

from framework import Dataset, StageError, hookimpl
from framework._plan import as_it_stands, make_plans
from framework._registry import Registry
from framework._spec import load
from framework._store import Store
from framework._trial import build_model, prepare, restore_network, run_trial
from framework.testing import tiny_data

SPEC = """
model: {name: torchvision, architecture: ARCHITECTURE}
data: {name: noise, size: SIZE, validation: 0.25}
stages:
  - train: {steps: 1, batch_size: 3, optimizer: {name: sgd, lr: 0.00001}}
  - prune: {amount: 0.2}
  - train: {steps: 1, batch_size: 3, optimizer: {name: sgd, lr: 0.00001}}
"""
SIZES = (32, 64, 96, 224, 518)  # the smallest that an architecture takes
# Billions of operations, and the gigabytes of weights that go with them, are asked for by name.
HUGE = 200_000_000  # weights


def noise(size: int) -> Dataset:
    return tiny_data((3, size, size), train=8, test=3)


class Noise:
    @hookimpl
    def register_datasets(self) -> object:
        return {"noise": noise}


CATALOG = Registry([*BUILT_IN, (Noise(), "test 1")])


def _weights(architecture: str) -> int:
    return int(models.get_model_weights(architecture).DEFAULT.meta["num_params"])


ALL = [
    pytest.param(name, marks=[pytest.mark.huge] if _weights(name) > HUGE else [])
    for name in models.list_models(module=models)
]


@pytest.mark.long
@pytest.mark.parametrize("architecture", ALL)
def test_a_model_of_torchvision_is_trained_pruned_stored_restored_and_exported(
    architecture: str, tmp_path: Path
) -> None:
    gc.collect()
    spec = tmp_path / "spec.yaml"
    for size in SIZES:
        spec.write_text(SPEC.replace("ARCHITECTURE", architecture).replace("SIZE", str(size)))
        [plan] = make_plans(load(spec, CATALOG), as_it_stands)
        arrays = prepare(plan.data, CATALOG)
        try:
            build_model(plan, CATALOG, arrays)
        except StageError:
            if size == SIZES[-1]:
                raise
            continue
        break
    store, reports, again = Store(tmp_path / "stages"), Reports(), Reports()
    trained = run_trial(plan, CATALOG, arrays, store, reports)
    weights = trained.weights().values()
    zeros, total = (sum(counts) for counts in zip(*((int((w == 0).sum()), w.numel()) for w in weights), strict=True))
    assert zeros >= round(0.2 * total)
    assert reports.records[-1].metrics["sparsity"] == zeros / total

    restored = run_trial(plan, CATALOG, arrays, store, again)
    assert [end.executed for end in again.ends] == [False] * 3
    one, other = trained.model.state_dict(), restored.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert repr(comparable(reports.records)) == repr(comparable(again.records))  # a loss may be NaN on noise
    del trained, restored, one, other, weights

    tensors, _ = store.load(plan.key)
    network = build_model(plan, CATALOG, arrays)
    restore_network(network, tensors)
    network.eval()
    images = torch.rand(2, 3, size, size)
    batch = {0: torch.export.Dim("batch", min=1, max=2**16)}
    program = torch.export.export(network, (images,), dynamic_shapes=(batch,), strict=False)
    with torch.no_grad():
        for count in (1, 3):
            images = torch.rand(count, 3, size, size)
            torch.testing.assert_close(program.module()(images), network(images), rtol=1e-3, atol=1e-4, equal_nan=True)
