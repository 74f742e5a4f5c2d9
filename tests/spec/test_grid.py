"""Grids that are expanded without Ray Tune come to what Ray Tune makes of them, in its order."""

from itertools import islice
from pathlib import Path
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
        st.dictionaries(st.sampled_from(["b", "a", "name", "eval"]), inside, max_size=3),
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


EVAL = {"eval": "__import__('pathlib').Path('ran').touch()"}


@pytest.mark.parametrize("kind", ["grid_search", "choice"])
@pytest.mark.parametrize(
    ("beside", "candidate"),
    [(EVAL, 1), ([EVAL], 1), ({"eval": EVAL}, 1), (2, EVAL), (2, {"x": [EVAL]}), (2, {"grid_search": [EVAL]})],
)
def test_nothing_of_a_spec_is_run(
    kind: str, beside: Any, candidate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [(values, point)] = expand({"a": beside, "b": {kind: [candidate]}}, 1, 0)
    value = candidate["grid_search"][0] if isinstance(candidate, dict) and "grid_search" in candidate else candidate
    assert point == {"a": beside, "b": value}
    assert values == {("b",): value}
    assert not list(tmp_path.iterdir())


def test_a_space_below_a_key_that_ray_would_run() -> None:
    [(values, point)] = expand({"a": {"eval": {"randint": [3, 4]}}}, 1, 0)
    assert values == {("a", "eval"): 3}
    assert point == {"a": {"eval": 3}}
