import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import StageError, apportion
from framework_plugins.distributions import erk, layer


@settings(deadline=None)
@given(data=st.data(), limits=st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_apportioning_is_exact_within_the_limits_and_in_proportion(data, limits):
    names = [f"l{i}" for i in range(len(limits))]
    shares = data.draw(st.lists(st.floats(0.01, 100), min_size=len(limits), max_size=len(limits)))
    total = data.draw(st.integers(0, sum(limits)))
    found = apportion(total, dict(zip(names, shares, strict=True)), dict(zip(names, limits, strict=True)))
    assert sum(found.values()) == total
    assert all(0 <= found[name] <= limit for name, limit in zip(names, limits, strict=True))
    free = [i for i, name in enumerate(names) if found[name] < limits[i] - 1]
    if len(free) > 1:  # whoever has room gets a share in proportion, up to rounding
        factors = [(found[names[i]] / shares[i], 2 / shares[i]) for i in free]
        low, high = max(f - slack for f, slack in factors), min(f + slack for f, slack in factors)
        assert low <= high


def test_largest_remainders_get_what_rounding_leaves():
    assert apportion(10, {"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 9, "c": 9}) == {"a": 4, "b": 3, "c": 3}
    assert apportion(10, {"a": 1.4, "b": 4.7, "c": 3.9}, {"a": 9, "b": 9, "c": 9}) == {"a": 1, "b": 5, "c": 4}


def test_a_layer_loses_the_same_fraction():
    assert layer({"a": 100, "b": 1000}, 110) == {"a": 10, "b": 100}


def test_erk_is_solved_again_for_what_exceeds_1():
    # Raw densities: a (10 + 10) / 100 = 0.2, b (5 + 5 + 1 + 1) / 25 = 0.48, c (100 + 100) / 10_000 = 0.02.
    shapes = {"a": (10, 10), "b": (5, 5, 1, 1), "c": (100, 100)}
    sizes = {"a": 100, "b": 25, "c": 10_000}
    # Kept in proportion to 20, 12 and 200 as long as no layer is full: 116 of 232.
    assert erk(shapes, sizes, sum(sizes.values()) - 116) == {"a": 90, "b": 19, "c": 9900}
    # 1016.6 of 232: b would keep 52 of 25 and is dense, then a 991.6 / 11 of 100, which fits, and c the rest.
    kept = {name: sizes[name] - gone for name, gone in erk(shapes, sizes, sum(sizes.values()) - 1016).items()}
    assert kept == {"a": 90, "b": 25, "c": 901}


@pytest.mark.parametrize("count", [0, 10_125])
def test_none_and_all_can_go(count):
    shapes, sizes = {"a": (10, 10), "b": (5, 5), "c": (100, 100)}, {"a": 100, "b": 25, "c": 10_000}
    assert sum(erk(shapes, sizes, count).values()) == count


def test_the_first_layer_can_stay_dense_and_the_total_is_as_asked_for():
    candidates = {"a": 100, "b": 300, "c": 700}
    assert layer(candidates, 501, first_dense=True) == {"a": 0, "b": 150, "c": 351}
    with pytest.raises(StageError) as error:
        layer(candidates, 1001, first_dense=True)
    assert str(error.value) == (
        "distribution 'layer' cannot take 1001 weights and leave a dense: the other layers have 1000"
    )
