"""No step of training makes a GPU be waited for.

Without a GPU, what would wait for one is told by the operations themselves: those whose result Python or the shape of
a tensor depends on, and those that bring numbers of Python into a tensor.
"""

import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from framework import Arrays, Classification, Regression
from framework._trial import task_of

_READS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "lift_fresh"}
_SIZES = {"nonzero", "masked_select", "bincount", "unique_dim", "_unique2", "unique_consecutive", "repeat_interleave"}


class NeverWaiting(TorchDispatchMode):
    """Raises an error at each operation that would wait for a GPU."""

    def __init__(self, exempt):
        super().__init__()
        self.exempt = exempt

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        chosen = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if (chosen or name in _READS | _SIZES) and not any(args[0] is tensor for tensor in self.exempt()):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **kwargs or {})


class NeverCopying(TorchFunctionMode):
    """Raises an error where a tensor would be brought from a GPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in ("tolist", "numpy", "cpu", "__array__"):
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **kwargs or {})


class Watched:
    """Batches in whose passes nothing waits from the second batch on; what is made once per pass may wait."""

    def __init__(self, batches, exempt, left):
        self.batches, self.exempt, self.left, self.watched = batches, exempt, left, 0

    def __len__(self):
        return len(self.batches)

    def epoch(self, number: int) -> Iterator:
        one_pass = self._watch(self.batches.epoch(number))
        self.left.append(weakref.ref(one_pass))
        return one_pass

    def _watch(self, batches):
        yield next(batches)
        with NeverWaiting(self.exempt), NeverCopying():
            for batch in batches:
                self.watched += 1
                yield batch


@pytest.fixture
def watched(make_trial, monkeypatch):
    """Make a trial whose passes over its data are watched, and what has watched each."""
    given, counters = [], []
    zero_grad = torch.optim.Optimizer.zero_grad

    def noting_counters(optimizer, *args, **kwargs):
        # Optimizers count their steps in tensors that lie on the CPU, also for weights on a GPU.
        counters[:] = [state["step"] for state in optimizer.state.values() if "step" in state]
        return zero_grad(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", noting_counters)
    left = []

    def make(*args, **fields):
        trial = make_trial(*args, **fields)
        plain = trial.batches

        def batches(*args, **kwargs):
            given.append(Watched(plain(*args, **kwargs), lambda: counters, left))
            return given[-1]

        monkeypatch.setattr(trial, "batches", batches)
        return trial, given

    yield make
    for one_pass in left:
        if (unfinished := one_pass()) is not None:
            unfinished.close()  # or its modes would stay: an error has ended the pass


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"precision": "bfloat16", "channels_last": True, "tf32": True, "cudnn_benchmark": True},
        {"schedule": "cosine", "clip_norm": 1.0, "ema": 0.9, "accumulate": 2, "loss": "focal"},
        {"sparsifier": {"name": "rigl", "every": 100}},
        {"optimizer": "adamw", "loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
        {"optimizer": {"name": "adamw", "fused": True}},
        {"optimizer": "muon"},
    ],
    ids=lambda parameters: "-".join(parameters) or "plain",
)
def test_no_step_and_no_batch_of_evaluation_waits(parameters, watched, make_data, stage):
    trial, given = watched(data=make_data(augment=("crop", "flip", "cutout")))
    stage("prune", amount=0.3).run(trial)
    stage("freeze", fraction=0.4, unit="weights").run(trial)
    momentum = {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}}
    stage("train", **{"epochs": 2, "batch_size": 4, **momentum, **parameters}).run(trial)
    assert given[0].watched == 10  # of twice six batches


METRICS = {"accuracy": {"name": "accuracy"}, "perplexity": {"name": "perplexity"}}


@pytest.mark.parametrize(
    ("task", "metrics", "targets"),
    [
        (Regression(("a", "b", "c"), mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)), {}, torch.rand(24, 3)),
        (Classification(("a", "b", "c")), METRICS, torch.arange(24) % 3),
    ],
    ids=["quantities", "perplexity"],
)
def test_metrics_do_not_wait(task, metrics, targets, watched, registry, stage):
    images = torch.rand(24, 4)
    splits = {name: (images.numpy(), targets.numpy()) for name in ("train", "validation", "test")}
    source = Arrays(splits, task)
    data = source.open(torch.device("cpu"), ())
    trial, given = watched(nn.Linear(4, 3), data, task=task_of(source, metrics, registry), loss=task.loss())
    stage("train", epochs=1, batch_size=4).run(trial)
    assert given[0].watched == 5


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.tensor([0.5], device=x.device),
        lambda x: torch.where(x > 0),
        lambda x: x.sum().tolist(),
        lambda x: x.sum().cpu(),
    ],
)
def test_what_waits_is_found(wait, watched, stage):
    trial, _ = watched()
    trial.model.conv1.register_forward_hook(lambda module, args, output: (wait(output.detach()), None)[1])
    with pytest.raises(AssertionError, match="waits for the device"):
        stage("train", epochs=1, batch_size=8).run(trial)
