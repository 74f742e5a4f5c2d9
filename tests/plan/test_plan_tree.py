"""The stage tree: a common prefix is one path, and only what is not stored is left to do."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from framework._plan import TrialPlan
from framework._plan.tree import make_tree

EPOCHS = {"a": 0, "b": 1, "c": 5, "d": 0, "e": 0}

trials = st.lists(
    st.tuples(st.integers(0, 1), st.lists(st.sampled_from("abc"), max_size=5)), max_size=12, unique_by=str
)


def trial(seed: int, stages: Sequence[str], experiment: str = "study") -> TrialPlan:
    """A plan whose keys spell the seed and the stages so far: ``1:ab``."""
    return TrialPlan(
        experiment=experiment,
        swept={"stages": "".join(stages)},
        seed=seed,
        model={"name": "convnet"},
        data={"dataset": {"name": "digits"}},
        stages=tuple({"name": stage} for stage in stages),
        resources={},
        keys=tuple(f"{seed}:{''.join(stages[:length])}" for length in range(len(stages) + 1)),
        stage_epochs=tuple(EPOCHS[stage] for stage in stages),
    )


def simulate(plans: Sequence[TrialPlan], stored: set[str]) -> tuple[int, int]:
    """Run the trials one by one, each from its last state that is there."""
    there, stages, epochs = set(stored), 0, 0
    for plan in plans:
        start = max((i for i, key in enumerate(plan.keys) if key in stored), default=0)
        for i, key in list(enumerate(plan.keys))[start + 1 :]:
            if key not in there:
                there.add(key)
                stages += 1
                epochs += plan.stage_epochs[i - 1]
    return stages, epochs


def test_a_common_prefix_is_one_path() -> None:
    tree = make_tree([trial(0, "ab"), trial(0, "ac"), trial(0, "a"), trial(1, "ab")])
    assert [node.key for node in tree.roots] == ["0:", "1:"]
    assert list(tree.nodes) == ["0:", "0:a", "0:ab", "0:ac", "1:", "1:a", "1:ab"]
    node = tree.nodes["0:a"]
    assert (node.parent, node.index, node.stage, node.epochs) == ("0:", 0, {"name": "a"}, 0)
    assert node.children == ["0:ab", "0:ac"]
    assert node.trials == [("study", "stages=a seed=0")]
    assert tree.nodes["0:"].children == ["0:a"]
    assert (tree.nodes["0:"].index, tree.nodes["0:"].stage, tree.nodes["0:"].trials) == (-1, None, [])
    assert (tree.nodes["1:ab"].index, tree.nodes["1:ab"].epochs) == (1, 1)
    assert (tree.naive_stages, tree.shared_stages) == (7, 5)
    assert (tree.naive_epochs, tree.shared_epochs) == (7, 7)


def test_one_trial_of_two_experiments_ends_in_one_node() -> None:
    tree = make_tree([trial(0, "c", "one"), trial(0, "c", "other")])
    assert tree.nodes["0:c"].trials == [("one", "stages=c seed=0"), ("other", "stages=c seed=0")]
    assert (tree.naive_epochs, tree.shared_epochs) == (10, 5)


def test_what_lies_before_a_stored_state_is_needed_only_by_those_that_leave_before_it() -> None:
    alone, both = make_tree([trial(0, "cbc")]), make_tree([trial(0, "cbc"), trial(0, "cbb")])
    assert alone.remaining(["0:cb"]) == (1, 5)
    assert alone.remaining(["0:cbc"]) == (0, 0)
    assert both.remaining(["0:cbc"]) == (3, 7)
    assert both.remaining(["0:cbc", "0:c"]) == (2, 2)
    assert both.remaining(["0:", "elsewhere"]) == both.remaining(()) == (4, 12)


def test_no_trials_are_an_empty_tree() -> None:
    tree = make_tree([])
    assert (tree.roots, tree.naive_stages, tree.shared_epochs, tree.remaining(["x"])) == ([], 0, 0, (0, 0))


@given(trials)
def test_there_is_a_node_for_every_distinct_prefix(chosen: list[tuple[int, list[str]]]) -> None:
    tree = make_tree([trial(*one) for one in chosen])
    prefixes = {(seed, tuple(stages[:i])) for seed, stages in chosen for i in range(len(stages) + 1)}
    assert len(tree.nodes) == len(prefixes)
    assert len(tree.roots) == len({seed for seed, _ in chosen})
    assert tree.shared_stages == sum(1 for _, stages in prefixes if stages)
    assert tree.shared_epochs == sum(EPOCHS[stages[-1]] for _, stages in prefixes if stages)
    assert tree.naive_stages == sum(len(stages) for _, stages in chosen)
    assert tree.naive_epochs == sum(EPOCHS[stage] for _, stages in chosen for stage in stages)
    assert sum(len(node.trials) for node in tree.nodes.values()) == len(chosen)
    for node in tree.nodes.values():
        assert all(tree.nodes[child].parent == node.key for child in node.children)


@given(trials, st.integers())
def test_what_remains_is_what_trials_that_start_from_their_last_stored_state_execute(
    chosen: list[tuple[int, list[str]]], seed: int
) -> None:
    plans = [trial(*one) for one in chosen]
    tree = make_tree(plans)
    draw = random.Random(seed)
    stored = {key for key in tree.nodes if draw.random() < 0.3}
    draw.shuffle(plans)  # who does what does not matter
    assert tree.remaining(stored) == simulate(plans, stored)
