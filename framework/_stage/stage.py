"""The base class of stages."""

from abc import ABC, abstractmethod

from framework._stage.trial import Trial


class Stage(ABC):
    """One step of an experiment. Derive a frozen dataclass; its fields are the parameters in YAML.

    >>> @dataclass(frozen=True)
    ... class Shrink(Stage):
    ...     \"\"\"Multiply the weights of all layers that are not frozen by a factor.\"\"\"
    ...     factor: float = 0.5
    ...
    ...     def run(self, trial: Trial) -> None:
    ...         for name, weight in trial.weights().items():
    ...             if name not in trial.frozen:
    ...                 weight.data.mul_(self.factor)
    """

    @abstractmethod
    def run(self, trial: Trial) -> None:
        """Change the trial's state.

        Raises:
            StageError: the stage cannot do what was asked of it on this model or data.
        """

    @property
    def planned_epochs(self) -> int:
        """By how many epochs the stage advances the epoch axis, as far as known before it runs."""
        return 0

    @property
    def planned_length(self) -> tuple[str, int] | None:
        """The parameter that only says when the stage ends, and its value; None if there is none.

        Of two stages that differ in this parameter only, the longer one must come to the state in which the shorter
        one ends, and say so with `Trial.reached`: then trials share that part of their stages. Where anything that the
        stage does before its end depends on the parameter, such as a schedule over the whole stage, this is None.
        """
        return None
