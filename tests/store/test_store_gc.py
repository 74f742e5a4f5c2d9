from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework._store import Snapshot, all_but_last, older_than, over_limit, total, unreferenced


def snapshot(key, parent=None, created=0.0, size=10, partial=False, end=None):
    return Snapshot(key, partial, f"{key}-{partial}", "", size, created, {"parent": parent, "end": end})


#       a            needed below: d
#     b   c
#    d e   f(partial)
TREE = [
    snapshot("a", created=1),
    snapshot("b", "a", created=2),
    snapshot("c", "a", created=3),
    snapshot("d", "b", created=4),
    snapshot("e", "b", created=5),
    snapshot("f", "c", created=6, partial=True),
]


def keys(snapshots):
    return "".join(snapshot.key for snapshot in snapshots)


def test_older_than():
    assert keys(older_than(TREE, seconds=7, now=10.5)) == "abc"


@pytest.mark.parametrize(("n", "chosen"), [(0, "abcdef"), (1, "abcd"), (2, "abc"), (5, ""), (9, "")])
def test_all_but_last_counts_whole_ones_and_keeps_partial_ones_since(n, chosen):
    assert keys(all_but_last(TREE, n)) == chosen


def test_all_but_last_removes_old_partial_ones():
    assert keys(all_but_last([snapshot("a", partial=True), snapshot("b", created=1)], 1)) == "a"


@pytest.mark.parametrize(
    ("roots", "chosen"), [("", "abcdef"), ("d", "cef"), ("c", "bdef"), ("ef", "d"), ("ad", "cef"), ("x", "abcdef")]
)
def test_unreferenced_keeps_roots_and_their_ancestors(roots, chosen):
    assert keys(unreferenced(TREE, set(roots))) == chosen


@pytest.mark.parametrize(
    ("limit", "needed", "dropped"),
    [
        (60, "", ""),
        (59, "", "d"),
        (0, "", "debfca"),  # the ends, the oldest first; b is one as soon as d and e are gone
        (0, "d", "efcab"),  # a and b are not needed, and no ends: last of those, the oldest first
        (30, "bd", "efc"),
        (25, "bd", "efca"),
        (0, "abcdef", ""),
        (0, "e", "dfcab"),
    ],
)
def test_over_limit_drops_the_least_valuable_first_and_none_that_is_needed(limit, needed, dropped):
    assert keys(over_limit(TREE, limit, set(needed))) == dropped


def test_a_partial_snapshot_is_an_end_though_its_stage_has_successors():
    there = [snapshot("a", created=1), snapshot("a", created=2, partial=True), snapshot("b", "a", created=3)]
    assert [(s.key, s.partial) for s in over_limit(there, 0, set())] == [("a", True), ("b", False), ("a", False)]


TREES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 9), st.integers(1, 100), st.booleans(), st.booleans()), max_size=20
)


@given(TREES, st.integers(0, 1000))
def test_over_limit_drops_no_more_than_it_must(rows, limit):
    there, needed = [], set()
    for i, (parent, created, size, partial, wanted) in enumerate(rows):
        there.append(snapshot(str(i), str(parent) if parent < i else None, created, size, partial))
        needed |= {str(i)} if wanted else set()
    dropped = over_limit(there, limit, needed)
    assert len({s.file for s in dropped}) == len(dropped)
    rest = [s for s in there if s not in dropped]
    assert total(rest) <= limit or all(s.key in needed for s in rest)
    if dropped:
        assert total([*rest, dropped[-1]]) > limit
    assert not any(s.key in needed for s in dropped)
    for i, s in enumerate(dropped):
        waiting = [t for t in there if t not in dropped[:i]]
        ends = [t for t in waiting if t.partial or not any(u.parent == t.key for u in waiting)]
        rivals = [t for t in ends if t.key not in needed]
        assert not rivals or (s in rivals and s.created == min(t.created for t in rivals))


# Of three rounds: b has its own file and that of a, c has those of both, d stands alone.
SHARED = [
    snapshot("a", created=1),
    replace(snapshot("b", "a", created=2, size=5), uses={"a-False": 10}),
    replace(snapshot("c", "b", created=3, size=2), uses={"a-False": 10, "b-False": 5}),
    snapshot("d", created=4, size=1),
]


def test_a_file_that_several_share_counts_once():
    assert (total(SHARED), total(SHARED[1:]), total(SHARED[3:]), total([])) == (18, 18, 1, 0)


@pytest.mark.parametrize(
    ("limit", "needed", "dropped"),
    [
        (17, "", "c"),  # frees what only c needs
        (15, "", "cb"),
        (10, "", "cba"),
        (0, "", "cbad"),
        (15, "c", "d"),  # to drop a and b would free nothing, as c needs their files
        (0, "c", "d"),
        (0, "b", "cd"),
    ],
)
def test_over_limit_drops_only_what_frees_a_file(limit, needed, dropped):
    assert keys(over_limit(SHARED, limit, set(needed))) == dropped


def test_states_within_a_stage_stay_as_long_as_a_run_has_gone_through_them():
    within = [*TREE, snapshot("1", "b", end="d"), snapshot("2", "b", end="d", partial=True)]
    assert keys(unreferenced(within, {"d"})) == "cef"
    assert keys(unreferenced(within, {"e"})) == "cdf12"


def test_states_within_a_stage_are_dropped_first_unless_they_are_needed():
    within = [*TREE, snapshot("1", "b", created=7, end="d"), snapshot("2", "b", created=8, end="d")]
    assert keys(over_limit(within, 50, {"d"})) == "12e"
    assert keys(over_limit(within, 50, {"1"})) == "2de"
