"""A distribution: how many of the weights that are pruned go from which layer."""

from collections.abc import Callable, Mapping

from framework import apportion, hookimpl


def square_root(candidates: Mapping[str, int], count: int) -> dict[str, int]:
    """In proportion to the square roots of the layers' sizes: small layers lose a larger part than large ones.

    Args:
        candidates: by layer, how many weights may go. A distribution may also ask for ``shapes`` and ``scores``.
        count: how many go in all.

    Returns:
        By layer, how many go; together ``count``.
    """
    return apportion(count, {name: number**0.5 for name, number in candidates.items()}, candidates)


@hookimpl
def register_distributions() -> Mapping[str, Callable[..., dict[str, int]]]:
    """The distributions of this package, by the names that specs use."""
    return {"a_plugin": square_root}
