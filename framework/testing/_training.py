"""Checks of stages, losses, optimizers and observers, with the real trial runner, Trainer and store."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from itertools import chain, product, repeat
from math import isfinite
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn, optim

from framework._data import Arrays
from framework._errors import PluginError, StageError
from framework._hookspecs import LIFECYCLE
from framework._masks import eval_mode
from framework._stage import Stage, Trial
from framework.testing._assertions import component, difference, explained, numbers, require, same, seeded, stored
from framework.testing._harness import FIT, START, Interrupted, StageHarness, State
from framework.testing._resume import check_length, check_resume, check_training_resumes
from framework.testing._tiny import tiny_trial

_CLASSES = 3


def check_stage(factory: type[Stage], *, trial: Trial | None = None, **parameters: Any) -> None:
    """Check that a stage keeps its contracts, with the real trial runner and store.

    It is a frozen dataclass. What trial.masks says is pruned is 0 after it; what was frozen and still is has not
    changed, unless the stage prunes or unprunes it. Run again from the same state it gives the same result, bit for bit
    (metrics with ``second`` in their name may differ), and so it does if it is interrupted after a checkpoint and
    resumed. A trial that goes on from the stored result ends as one that went on at once.

    Args:
        factory: the stage's class.
        trial: what to run it on; it is not changed. By default a new trial, and one that is pruned and frozen in part;
            a stage may refuse one of them with a StageError.
        parameters: the stage's, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from dataclasses import dataclass
        >>> from framework import Stage
        >>> from framework.testing import check_stage
        >>> @dataclass(frozen=True)
        ... class Restart(Stage):
        ...     \"\"\"Begin counting epochs at a later one.\"\"\"
        ...     epochs: int = 1
        ...
        ...     def run(self, trial):
        ...         trial.epoch += self.epochs
        >>> check_stage(Restart, epochs=3)
    """
    require(
        inspect.isclass(factory) and issubclass(factory, Stage) and is_dataclass(factory) and _frozen(factory),
        f"stage {getattr(factory, '__name__', factory)!r} must be a class that derives from framework.Stage, with "
        "@dataclass(frozen=True)",
    )
    subject, made = component("stage", factory, parameters)
    planned = made().planned_epochs
    require(
        type(planned) is int and planned >= 0,
        f"{subject}: planned_epochs must be an int >= 0, not {planned!r}: give 0 where it is not known beforehand",
    )
    trials = [trial] if trial else [tiny_trial(prepared=True), tiny_trial()]
    refusals = []
    for one in trials:
        try:
            check_resume(subject, made, one)
            check_length(subject, made, one)
        except StageError as error:
            refusals.append(str(error))
    why = "; ".join(dict.fromkeys(refusals))
    require(
        len(refusals) < len(trials),
        f"{subject} can work on none of the trials that it was given ({why}): give one that it can work on, as "
        "check_stage(…, trial=…)",
    )


def _frozen(cls: type) -> bool:
    return bool(cls.__dataclass_params__.frozen)  # type: ignore[attr-defined]


def check_loss(factory: Callable[..., nn.Module], *, data: Arrays | None = None, **parameters: Any) -> None:
    """Check that a loss keeps its contracts.

    It is a module of outputs (N, classes) and labels int64 (N,), also of one image, with a finite scalar result, a mean
    over the batch, that can be differentiated. It draws from torch's generator only, keeps its state where
    ``state_dict`` finds it, does not change it during evaluation, and can be trained with, interrupted and resumed.

    Args:
        factory: the loss, as registered.
        data: images of another task than classification, and its targets, at least eight to train on.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from torch import nn
        >>> from framework.testing import check_loss
        >>> check_loss(nn.CrossEntropyLoss, label_smoothing=0.1)
    """
    subject, made = component("loss", factory, parameters)
    size = len(data.task.outputs) if data else _CLASSES
    outputs = numbers(8, size).requires_grad_()
    labels = torch.tensor(data.splits["train"][1][:8]) if data else torch.arange(8) % _CLASSES

    def fresh() -> nn.Module:
        with seeded(), explained(f"{subject} cannot be made"):
            loss = made()
        require(isinstance(loss, nn.Module), f"{subject} must give a torch.nn.Module, not a {type(loss).__name__}")
        return loss  # type: ignore[no-any-return]

    def value(loss: nn.Module, count: int = 8) -> Tensor:
        targets = f"targets {(count, *labels.shape[1:])}" if data else f"int64 labels ({count},)"
        sizes = f"outputs ({count}, {size}) and {targets}"
        with seeded(), explained(f"{subject} cannot be called with {sizes}"):
            found = loss(outputs[:count], labels[:count])
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        require(shape == (), f"{subject} must give a scalar for {sizes}, not {shape}: take the mean over the batch")
        require(bool(found.isfinite()), f"{subject} gives {found.item()} for {sizes}, which is not finite")
        return found  # type: ignore[no-any-return]

    loss, other = fresh(), fresh()
    loose = ", ".join(_unregistered(loss))
    require(not loose, f"{subject}: {loose} would not move with .to(): make tensors buffers, with register_buffer")
    first = value(loss)
    gradient = torch.autograd.grad(first, outputs, allow_unused=True)[0] if first.requires_grad else None
    require(
        gradient is not None and bool(gradient.isfinite().all()),
        f"{subject} cannot be differentiated with respect to the outputs: compute it with torch's functions, without "
        "detach, item or argmax, and keep its slope finite",
    )
    require(
        same(first, value(other)),
        f"{subject} gives two values for the same inputs: draw from torch's generators only",
    )
    value(loss, 1)
    with torch.autocast("cpu", torch.bfloat16), explained(f"{subject} cannot be computed in bfloat16"):
        half = loss(outputs.bfloat16(), labels)
    require(bool(half.isfinite()), f"{subject} gives {half.item()} in bfloat16, which is used on GPUs")
    with explained(f"{subject}: its state cannot be stored: state_dict must hold tensors only"):
        state = stored(loss.state_dict())
    with eval_mode(loss), torch.inference_mode():
        once = value(loss, 4)
        with seeded():
            twice = loss(torch.cat([outputs[:4]] * 2), torch.cat([labels[:4]] * 2))
    require(
        bool(twice.abs() <= 1.5 * once.abs() + 1e-6),
        f"{subject} must give the mean over the batch, not the sum: it gives {once.item():g} for images and "
        f"{twice.item():g} for the same ones twice",
    )
    diff = difference(state, loss.state_dict())
    require(not diff, f"{subject}: evaluation changes its state ({diff}): change it only if self.training")
    with explained(f"{subject} cannot load its own state_dict"):
        other.load_state_dict(state)
    require(
        same(value(loss), value(other)),
        f"{subject} gives another value after state_dict and load_state_dict: keep what it remembers in buffers",
    )
    check_training_resumes(subject, made, data)


def _unregistered(module: nn.Module) -> Iterator[str]:
    """List the names of tensors that are plain attributes, neither parameters nor buffers."""
    for prefix, inner in module.named_modules():
        for name, value in vars(inner).items():
            if isinstance(value, Tensor):
                yield f"{prefix}.{name}".lstrip(".")


def check_optimizer(factory: Callable[..., optim.Optimizer], **parameters: Any) -> None:
    """Check that an optimizer keeps its contracts, with the real Trainer.

    The network is pruned and frozen in part. The optimizer's ``step`` takes a closure and calls it, once or more often.
    It moves weights and keeps them finite, so that what is masked stays 0. Training gives the same result each time,
    and if it is interrupted and resumed from ``state_dict``.

    Args:
        factory: the optimizer, as registered.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from torch import optim
        >>> from framework.testing import check_optimizer
        >>> check_optimizer(optim.AdamW, lr=0.01)
    """
    subject, made = component("optimizer", factory, parameters)
    weight, calls = nn.Parameter(numbers(4, 4)), []
    with explained(f"{subject} cannot be made"):
        optimizer = made(params=[weight])
    require(
        isinstance(optimizer, optim.Optimizer) and all("lr" in group for group in optimizer.param_groups),
        f"{subject} must give a torch.optim.Optimizer with an lr in every group, which schedules change",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        calls.append(loss)
        return loss

    with explained(f"{subject}: step(closure) fails"):
        optimizer.step(closure)
    require(
        bool(calls),
        f"{subject}: step does not call its closure, which computes the loss and the gradients: "
        "call it within torch.enable_grad()",
    )
    before, after = (state.part("model") for state in check_training_resumes(subject, made))
    weights = [name for name, _ in tiny_trial().model.named_parameters()]
    require(
        not all(same(before[name], after[name]) for name in weights),
        f"{subject} moves no weight in three epochs: step must change the parameters by their gradients",
    )


def check_observer(plugin: object) -> None:
    """Check that a plugin observes trials and changes nothing of them, with the real trial runner and store.

    It implements lifecycle hooks that there are. A trial that it observes has the same network, masks and metrics as
    one that it does not, bit for bit, also if it is interrupted and resumed. The metrics that it adds are finite.

    Args:
        plugin: the module, or an object, that has the hooks.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from framework import hookimpl
        >>> from framework.testing import check_observer
        >>> class Norms:
        ...     @hookimpl
        ...     def epoch_ended(self, trial):
        ...         return {f"norm/{name}": weight.norm().item() for name, weight in trial.weights().items()}
        >>> check_observer(Norms())
    """
    subject = f"observer {getattr(plugin, '__name__', type(plugin).__name__)!r}"
    stages = (FIT, START, FIT)
    with TemporaryDirectory() as folder:
        alone = StageHarness(stages, tiny_trial(prepared=True), f"{folder}/alone")
        try:
            observed = StageHarness(stages, alone.trial, f"{folder}/observed", observers=[plugin])
        except PluginError as error:
            raise AssertionError(f"{subject}: {error}") from error
        hooks = observed.registry.plugins[0].hooks
        unmarked = sorted({name for name in LIFECYCLE if hasattr(plugin, name)} - {*hooks})
        require(not unmarked, f"{subject}: {', '.join(unmarked)} is no hook without @framework.hookimpl")
        require(bool({*hooks} & {*LIFECYCLE}), f"{subject} implements no lifecycle hook: {', '.join(LIFECYCLE)}")
        alone.run("whole", 3)
        with explained(f"{subject} fails on a tiny trial"):
            observed.run("whole", 3)
        with explained(f"{subject} fails when a trial is interrupted and resumed"):
            with suppress(Interrupted):
                observed.run("resumed", 1, crash_after=1)
            observed.run("resumed", 3)
        for name, count in product(("whole", "resumed"), (1, 2, 3)):
            _only_observed(subject, alone.state("whole", count), observed.state(name, count))


def _only_observed(subject: str, expected: State, found: State) -> None:
    records = found.metadata["records"]
    for epoch, _, metrics in records:
        for name, value in metrics.items():
            require(isfinite(value), f"{subject}: metric {name} is {value} after epoch {epoch}, which is not finite")
    known = chain((set(metrics) for _, _, metrics in expected.metadata["records"]), repeat(set[str]()))
    common = [
        (epoch, stage, {name: value for name, value in metrics.items() if name in names})
        for (epoch, stage, metrics), names in zip(records, known, strict=False)
    ]
    metadata = {**found.metadata, "records": common, "artifacts": expected.metadata["artifacts"]}
    diff = expected.differs(State(found.tensors, metadata))
    require(not diff, f"{subject} changes the trial that it observes ({diff}): look at all, and change nothing")
