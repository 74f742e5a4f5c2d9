"""Gather the mistakes of a spec."""

from collections.abc import Iterable

from framework._errors import Problem, SpecError

_MOST_MISTAKES = 1000


class Mistakes(list[Problem]):
    """The mistakes found so far, each once; when there are a thousand, no more are looked for."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[Problem] = set()

    def append(self, problem: Problem) -> None:
        if problem not in self._known:
            self._known.add(problem)
            super().append(problem)
        if len(self) >= _MOST_MISTAKES:
            raise error_of(self)

    def extend(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.append(problem)


def error_of(found: list[Problem]) -> SpecError:
    """All mistakes, each once: what an alias stands for is written once, whatever uses it."""
    once = {(p.file, p.line, p.column, p.message): p for p in sorted(found, reverse=True)}
    return SpecError(once.values())
