"""Where stages are split, so that trials share the epochs that they have in common.

Where the course of a stage does not depend on its length, a longer one passes through the state in which a shorter one
ends: through the same weights, and the same state of the optimizer. There the stage is split. A split has a key of its
own, which leaves the length out: it stands for how the stage began, for its parameters without the length, and for how
long it has run. The keys of the states after stages stay as they are.
"""

from collections.abc import Iterable
from dataclasses import replace

from framework._plan.trial_plan import Length, Split, TrialPlan

COURSE = 32
"""Hex digits of a course, which are the first ones of the keys of all of its splits. The others are the length."""
_DIGITS = 8


class SplitStages:
    """Splits the stages of trials at all lengths that are known.

    A stage is split at its own length as well: where another length is known of the same course, and in the last stage
    of a trial that trains, so that a later run that is asked for more epochs goes on there. Where only one length is
    known, earlier stages aren't, as each split takes as much room in the store as a checkpoint does.

    Args:
        stored: the keys of the states that are stored; a longer stage goes on from the splits among them.
    """

    def __init__(self, stored: Iterable[str] = ()) -> None:
        self._known: dict[str, set[int]] = {}
        self._last: set[str] = set()  # courses of stages after which no other of some trial trains
        self._made: dict[Length, tuple[Split, ...]] = {}  # most trials have most of their stages in common
        for key in stored:
            if len(key) == COURSE + _DIGITS:
                self._known.setdefault(key[:COURSE], set()).add(int(key[COURSE:], 16))

    def __call__(self, plans: Iterable[TrialPlan]) -> list[TrialPlan]:
        """Split the stages of these trials at the lengths of each other, and of those before."""
        plans = list(plans)
        self._made.clear()
        for length in (length for plan in plans for length in plan.lengths if length):
            self._known.setdefault(length.course, set()).add(length.value)
            if length.last:
                self._last.add(length.course)
        return [self._split(plan) for plan in plans]

    def _split(self, plan: TrialPlan) -> TrialPlan:
        splits = tuple(() if length is None else self._splits(length) for length in plan.lengths)
        return replace(plan, splits=splits) if any(splits) else plan

    def _splits(self, length: Length) -> tuple[Split, ...]:
        if length not in self._made:
            self._made[length] = self._make(length)
        return self._made[length]

    def _make(self, length: Length) -> tuple[Split, ...]:
        known = self._known[length.course]
        if len(known) == 1 and length.course not in self._last:
            return ()
        unit, passed = length.unit, sorted(value for value in known if value <= length.value)
        keys = [f"{length.course}{value:0{_DIGITS}x}" for value in passed]
        return tuple(
            Split(key, unit, value, value if unit == "epochs" else 0) for key, value in zip(keys, passed, strict=True)
        )
