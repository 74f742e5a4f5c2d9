"""Decide how many weights are pruned from each layer, and which."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from framework._component import Component
from framework._errors import StageError
from framework._masks import Masks, lowest


def spread(
    distribution: Component,
    scores: Mapping[str, Tensor],
    candidates: Masks,
    count: int,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, int]:
    """Say how many of ``count`` weights, or whole filters, are pruned from each layer.

    Args:
        distribution: a stage's parameter of type `framework.Distribution`.
        scores: by parameter name, in forward order; of the weight's shape, or one for each of its filters.
        candidates: True = may go; of the same names and shapes.
        count: how many go in all; at most as many as there are candidates.
        shapes: of the weights; None: those of the scores.

    Returns:
        By name, between 0 and the layer's candidates; their sum is ``count`` exactly.

    Raises:
        StageError: the distribution gave something else.
    """
    limits = {name: int(mask.count_nonzero()) for name, mask in candidates.items()}
    found: dict[str, int] = distribution(
        shapes={name: tuple(score.shape if shapes is None else shapes[name]) for name, score in scores.items()},
        candidates=limits,
        count=count,
        scores={name: score.masked_select(candidates[name]) for name, score in scores.items()}
        if "scores" in distribution.entry.inputs
        else None,
    )
    if {*found} != {*limits} or sum(found.values()) != count or any(not 0 <= found[n] <= limits[n] for n in limits):
        raise StageError(
            f"distribution {distribution.name!r} must spread {count} weights over layers of {limits}; it gave {found}"
        )
    return found


def remove_lowest(
    scores: Mapping[str, Tensor], masks: Masks, counts: Mapping[str, int], candidates: Masks | None = None
) -> Masks:
    """Return masks that prune the weights with the lowest scores, layer by layer; of equal scores the first ones go.

    Args:
        scores: by parameter name, of the weight's shape, of any number type without NaN.
        masks: of the same names and shapes; True = may be non-zero.
        counts: how many go from each.
        candidates: which may go; None: all that are not masked.
    """
    removed = {}
    for name, mask in masks.items():
        may_go = mask if candidates is None else candidates[name]
        gone = lowest(scores[name].reshape(-1), may_go.reshape(-1), counts[name])
        removed[name] = mask & ~gone.view(mask.shape)
    return removed


def apportion(total: int, shares: Mapping[str, float], limits: Mapping[str, int]) -> dict[str, int]:
    """Divide a number in proportion to shares, none getting more than its limit; rounded by largest remainder.

    What a layer cannot take goes to the others in proportion to their shares, again and again until all have room: as
    Erdős–Rényi densities above 1 are usually treated.

    Args:
        total: what is divided; at most the sum of the limits.
        shares: by name, >= 0.
        limits: by name.

    Returns:
        By name; the sum is ``total`` exactly. Of equal remainders the first names get more.

    Example:
        >>> apportion(10, {"a": 1, "b": 1, "c": 8}, {"a": 10, "b": 10, "c": 4})
        {'a': 3, 'b': 3, 'c': 4}
    """
    exact: dict[str, float] = {}
    open_names = [name for name in shares if shares[name] > 0]
    left = total
    while open_names:
        factor = left / sum(shares[name] for name in open_names)
        full = [name for name in open_names if factor * shares[name] >= limits[name]]
        if not full:
            exact |= {name: factor * shares[name] for name in open_names}
            break
        exact |= {name: limits[name] for name in full}
        left -= sum(limits[name] for name in full)
        open_names = [name for name in open_names if name not in full]
    return largest_remainder({name: exact.get(name, 0.0) for name in shares}, total, limits)


def largest_remainder(quotas: Mapping[str, float], total: int, limits: Mapping[str, int]) -> dict[str, int]:
    """Round numbers down or up, so that their sum is a total: those with the largest remainders are rounded up.

    Args:
        quotas: by name, from 0 to its limit.
        total: what they sum up to, rounded; more of it goes where there is room.
        limits: by name.

    Returns:
        By name; the sum is ``total`` exactly. Of equal remainders the first names get more.

    Raises:
        ValueError: the total is more than the limits take.

    Example:
        >>> largest_remainder({"a": 2.5, "b": 2.5, "c": 1.2}, 6, {"a": 9, "b": 9, "c": 9})
        {'a': 3, 'b': 2, 'c': 1}
    """
    # Floating point may miss a whole number by a hair, and tell remainders apart that are equal on paper.
    whole = {name: int(quota + 1e-9) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: round(whole[name] - quotas[name], 9))
    while (missing := total - sum(whole.values())) > 0:
        room = [name for name in by_remainder if whole[name] < limits[name]]
        if not room:
            raise ValueError(f"{total} is more than the limits take: {dict(limits)}")
        for name in room[:missing]:
            whole[name] += 1
    return whole
