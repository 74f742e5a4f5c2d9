"""Grids that are expanded without Ray Tune come to what Ray Tune makes of them, in its order."""

from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework._executors.ray_tune import expand
from framework._spec.grid import expand_grids

PLAIN = st.sampled_from([None, True, 0, 1, 0.5, "a", "b"])


def _larger(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inside, max_size=3),
        st.dictionaries(st.sampled_from(["b", "a", "name", "train"]), inside, max_size=3),
        st.builds(lambda candidates: {"grid_search": candidates}, st.lists(inside, min_size=1, max_size=3)),
    )


def points(expanded: Any) -> list[tuple[list[Any], Any]]:
    return [(list(values.items()), tree) for values, tree in islice(expanded, 200)]


@given(st.dictionaries(st.sampled_from(["model", "data", "stages"]), st.recursive(PLAIN, _larger, max_leaves=12)))
@settings(deadline=None)
def test_as_ray_tune(tree: dict[str, Any]) -> None:
    assert points(expand_grids(tree, 1, 0)) == points(expand(tree, 1, 0))


@pytest.mark.parametrize(
    ("tree", "values"),
    [
        ({"a": 1}, [{}]),
        ({"b": {"grid_search": [1, 2]}, "a": {"grid_search": [3, 4]}}, ["31", "41", "32", "42"]),
        ({"a": {"grid_search": [{"grid_search": [1, 2]}, 3]}}, ["1", "2", "3"]),
    ],
    ids=["none", "the first changes fastest", "one in another"],
)
def test_points(tree: Any, values: list[Any]) -> None:
    found = [chosen and "".join(map(str, chosen.values())) for chosen, _ in expand_grids(tree, 1, 0)]
    assert found == values
