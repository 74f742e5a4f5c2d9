"""Optuna, by way of Ray Tune."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from ray import tune

from framework._executors.search import Point
from framework._spec import ExperimentSpec, Space

_STARTUP = 10  # Optuna's own
_GOODNESS = "goodness"  # which metric it is, the trials tell; whether less of it is better, its sign has


class Optuna:
    """Suggests points of a spec's search space by the results of others: a tree-structured Parzen estimator.

    Its first suggestions are random, up to ten of them, but no more than half of all. With equal results that come in
    equal order it suggests the same, also where it goes on from points that are known.

    Args:
        spec: the spec.
        known: points that have been suggested before, by number; nothing is known yet of their results.
    """

    def __init__(self, spec: ExperimentSpec, known: Mapping[int, Point]) -> None:
        from ray.tune.search.optuna import OptunaSearch  # what is not used is not imported

        search = spec.search
        self._names = [str(index) for index in range(len(spec.spaces))]
        self._search = OptunaSearch(
            OptunaSearch.convert_search_space(dict(zip(self._names, map(_domain, spec.spaces), strict=True))),
            metric=_GOODNESS,
            mode="max",
            sampler=_sampler(search.seed, min(_STARTUP, ceil(search.samples / 2))),
            points_to_evaluate=[dict(zip(self._names, point, strict=True)) for point in known.values()],
        )
        for number in known:
            self.ask(number)

    def ask(self, number: int) -> Point:
        """A value for each space of the spec, in their order; see `framework._spec.space.fill`."""
        suggested: Any = self._search.suggest(str(number))
        return [suggested[name] for name in self._names]

    def tell(self, number: int, value: float | None) -> None:
        """How good this point is, the more the better; None if it failed."""
        result = None if value is None else {_GOODNESS: value}
        self._search.on_trial_complete(str(number), result, error=value is None)


def _sampler(seed: int, startup: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    class Numbered(optuna.samplers.BaseSampler):
        """Draws the same for the same number, whatever was drawn before."""

        def before_trial(self, study: Any, trial: Any) -> None:
            own = int(np.random.SeedSequence((seed, trial.number)).generate_state(1)[0])
            self.parzen = optuna.samplers.TPESampler(seed=own, n_startup_trials=startup)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self.parzen.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self.parzen.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            return self.parzen.sample_independent(study, trial, name, distribution)

    return Numbered()


def _domain(space: Space) -> Any:
    if space.kind == "choice":
        return tune.choice(range(len(space.args)))
    sample = {"uniform": tune.uniform, "loguniform": tune.loguniform, "randint": tune.randint}
    return sample[space.kind](*space.args)
