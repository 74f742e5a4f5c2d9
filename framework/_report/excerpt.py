"""Of thousands of variants, those that one looks at first: the best and the worst."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Generic, TypeVar

from framework._report.variants import Trial, Variant

T = TypeVar("T", bound=Trial)
MOST = 40  # variants that one looks at in a terminal


@dataclass(frozen=True)
class Excerpt(Generic[T]):
    """Some of many variants.

    Attributes:
        shown: those that are shown.
        gaps: by the place in ``shown`` before which they would stand, how many are left out there.
    """

    shown: Sequence[Variant[T]]
    gaps: dict[int, int] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """How many are not shown."""
        return sum(self.gaps.values())

    @property
    def told(self) -> str:
        """Which ones these are, in a few words; empty if all are shown."""
        whole = len(self.shown) + self.left_out
        return f"the best and the worst {len(self.shown):,} of {whole:,} variants" if self.left_out else ""

    def lines(self, rows: Sequence[Sequence[str]]) -> list[list[str]]:
        """The rows of what is shown, one for each variant, and a row that says so where some are left out."""
        found = [list(row) for row in rows]
        for place, number in sorted(self.gaps.items(), reverse=True):
            found.insert(place, [f"… {number:,} more", *[""] * (len(found[0]) - 1)])
        return found


def excerpt(variants: Sequence[Variant[T]], limit: int, value: Callable[[Variant[T]], float]) -> Excerpt[T]:
    """As many of the variants as asked for: half of them the best ones, the others the worst.

    Args:
        variants: any number of them; no more than the limit stay as they are, in their order.
        limit: how many to show; 0: all. What they are compared with is shown besides.
        value: how good one is, the more the better; NaN is the worst.
    """
    if not limit or len(variants) <= limit:
        return Excerpt(variants)
    worth = [(-inf if isnan(found := value(variant)) else found) for variant in variants]
    ranked = [variants[index] for index in sorted(range(len(variants)), key=worth.__getitem__, reverse=True)]
    baselines = [variant.baseline.values for variant in variants[:2] if variant.baseline is not None]  # all have one
    head, tail = limit - limit // 2, len(ranked) - limit // 2
    shown: list[Variant[T]] = []
    gaps: dict[int, int] = {}
    for place, variant in enumerate(ranked):
        if place < head or place >= tail or variant.values in baselines:
            shown.append(variant)
        else:
            gaps[len(shown)] = gaps.get(len(shown), 0) + 1
    return Excerpt(shown, gaps)


def by_metric(variant: Variant[T]) -> float:
    """How good the metric of a comparison came out."""
    return variant.mean if variant.maximize else -variant.mean
