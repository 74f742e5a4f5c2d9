"""Checks of criteria, distributions and sparsifiers."""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from framework._component import Component
from framework._engine import scores, spread
from framework._errors import StageError
from framework._sparsifier import Sparsifier
from framework.testing._assertions import component, difference, explained, numbers, require, same, seeded
from framework.testing._resume import check_training_resumes
from framework.testing._tiny import tiny_trial


def check_criterion(factory: Callable[..., Any], **parameters: Any) -> None:
    """Check that a pruning criterion keeps its contracts.

    For a weight of any number of dimensions (and its gradient and a generator, if it asks for them), or for ``gamma``,
    it gives a number per element: the same ones for the same seed, also where weights or all gradients are 0. It
    changes nothing that it is given. One that asks for the network gives numbers for all its weights, also where some
    are pruned and frozen, and leaves the trial and torch's random state as they were.

    Args:
        factory: the criterion, as registered.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from torch import Tensor
        >>> from framework.testing import check_criterion
        >>> def saliency(weight: Tensor, gradient: Tensor) -> Tensor:
        ...     \"\"\"What the loss would change by, to first order.\"\"\"
        ...     return (weight * gradient).abs()
        >>> check_criterion(saliency)
    """
    subject, made = component("criterion", factory, parameters)
    if "network" in made.entry.inputs:
        _check_of_network(subject, made)
        return
    for shape in ((6, 4, 3, 3), (3, 24)):
        weight = numbers(*shape)
        weight[0] = 0.0  # pruned already
        gradients = {"": numbers(*shape, seed=1), ", where the gradient is 0": torch.zeros(shape)}
        for where, gradient in gradients.items():
            given = {"weight": weight, "gradient": gradient, "gamma": weight.flatten()}
            inputs = {name: tensor.clone() for name, tensor in given.items()}
            with seeded(), explained(f"{subject} cannot be called with a weight of shape {shape}{where}"):
                scores, again = (
                    made(**inputs, generator=torch.Generator().manual_seed(0), network=None) for _ in range(2)
                )
            diff = difference(given, inputs)
            require(not diff, f"{subject} changes what it is given ({diff}): compute with copies")
            scored = "gamma" if "gamma" in made.entry.inputs else "weight"
            wanted = tuple(given[scored].shape)
            require(
                isinstance(scores, Tensor) and scores.shape == wanted,
                f"{subject} must give a tensor of the {scored}'s shape, {wanted}, not "
                f"{tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__}",
            )
            require(not bool(scores.isnan().any()), f"{subject} gives NaN for a weight of shape {shape}{where}")
            require(same(scores, again), f"{subject} gives two scores for the same seed: draw from generator only")


def _check_of_network(subject: str, made: Component) -> None:
    for prepared in (False, True):
        trial, twin = tiny_trial(prepared=prepared), tiny_trial(prepared=prepared)
        names = list(trial.weights())
        with seeded():
            before = torch.get_rng_state()
            with explained(f"{subject} cannot score a tiny network"):
                found, again = (scores(made, trial, names) for _ in range(2))
            require(
                torch.equal(before, torch.get_rng_state()),
                f"{subject} changes torch's random state",
            )
        diff = difference(twin.model.state_dict(), trial.model.state_dict()) or difference(twin.masks, trial.masks)
        require(not diff, f"{subject} changes the trial ({diff}): change network.model only, which is a copy")
        require(
            all(same(found[name], again[name]) for name in names),
            f"{subject} gives two scores for the same seed: draw from network.generator or torch's own generator only",
        )


def check_distribution(factory: Callable[..., Any], **parameters: Any) -> None:
    """Check that a distribution keeps its contracts.

    For layers of any sizes, some of them pruned already, and any number of weights that go, it says how many go from
    which: no more than there are, and exactly that number together; the same ones each time.

    Args:
        factory: the distribution, as registered.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from framework import apportion
        >>> from framework.testing import check_distribution
        >>> def inverse(candidates, count):
        ...     \"\"\"Small layers lose as many weights as large ones.\"\"\"
        ...     return apportion(count, dict.fromkeys(candidates, 1), candidates)
        >>> check_distribution(inverse)
    """
    subject, made = component("distribution", factory, parameters)
    shapes = {"conv.weight": (6, 4, 3, 3), "tiny.weight": (2, 3), "fc.weight": (3, 24)}
    given = {name: numbers(*shape, seed=i).abs() for i, (name, shape) in enumerate(shapes.items())}
    for keep, share in product((1.0, 0.5, 0.0), (0.0, 0.013, 0.5, 0.9, 1.0)):
        masks = {
            name: (torch.arange(score.numel()) % 10 < 10 * keep).view(score.shape) for name, score in given.items()
        }
        total = sum(int(mask.sum()) for mask in masks.values())
        count = round(share * total)
        with explained(f"{subject} cannot spread {count} of {total} weights", but=(StageError,)):
            try:
                found, again = (spread(made, given, masks, count) for _ in range(2))
            except StageError as error:
                raise AssertionError(f"{subject}: {error}") from error
        require(found == again, f"{subject} gives {found} and then {again}")


def check_sparsifier(factory: Callable[..., Sparsifier], **parameters: Any) -> None:
    """Check that a sparsifier keeps its contracts, with the real trial runner, Trainer and store.

    It trains a network that is pruned and frozen in part for nine steps, and changes masks in one of them at least.
    What is masked is 0 afterwards, and what is frozen as it was. Training gives the same result each time, and if it is
    interrupted and resumed.

    Args:
        factory: the sparsifier, as registered.
        parameters: its parameters, as YAML gives them; such that something happens in nine steps.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from dataclasses import dataclass
        >>> from framework import Sparsifier
        >>> from framework.testing import check_sparsifier
        >>> @dataclass
        ... class Threshold(Sparsifier):
        ...     \"\"\"Prune what is smaller than a threshold.\"\"\"
        ...     threshold: float = 0.05
        ...
        ...     def update(self, step):
        ...         large = {name: weight.abs() >= self.threshold for name, weight in step.weights.items()}
        ...         return {name: mask & large[name] for name, mask in step.masks.items()}
        >>> check_sparsifier(Threshold)
    """
    subject, made = component("sparsifier", factory, parameters)
    with explained(f"{subject} cannot be made"):
        sparsifier = made()
    require(
        isinstance(sparsifier, Sparsifier),
        f"{subject} must be a framework.Sparsifier, not a {type(sparsifier).__name__}",
    )
    before, after = check_training_resumes(subject, made)
    require(
        bool(difference(before.part("masks"), after.part("masks"))),
        f"{subject} changes no mask in nine steps: give parameters by which it does, such as every=2",
    )
