"""What trials of one seed have in common: all that is drawn comes from the seed and the place it is drawn at."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trial import BUILT_IN, Reports, Toys

from framework import Stage, Trial, hookimpl
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._registry import Registry
from framework._spec import load
from framework._store import Store
from framework._trial import build_model, prepare, run_trial

SPEC = """
model: {name: convnet, widths: [4, 8]}
data: {name: toy, validation: 0.25}
seeds: [0, 1]
stages:
  - look
  - prune: {amount: 0.3}
  - look
"""


@dataclass(frozen=True)
class Look(Stage):
    """Note what a training stage would see: the labels of two passes, and what is dropped."""

    anything: int = 0

    def run(self, trial: Trial) -> None:
        batches = trial.batches("train", 7)
        passes = [[labels.tolist() for _, labels in batches.epoch(number)] for number in range(2)]
        SEEN.append((passes, torch.rand(5).tolist()))


SEEN: list[Any] = []


class Plugin:
    @hookimpl
    def register_stages(self) -> Any:
        return {"look": Look, "ask": Ask}


@dataclass(frozen=True)
class Ask(Stage):
    """Ask for all that a trial hands out, between two random numbers."""

    def run(self, trial: Trial) -> None:
        before = torch.get_rng_state()
        trial.initial_state()
        trial.weights()
        trial.forward_order  # noqa: B018
        trial.generator()
        list(trial.batches("train").epoch(0))
        trial.report({})
        assert torch.equal(torch.get_rng_state(), before)


CATALOG = Registry([*BUILT_IN, (Toys(), "test 1"), (Plugin(), "test 2")])
Plan = Callable[..., TrialPlan]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    def make(*settings: str, seed: int = 0) -> TrialPlan:
        path = tmp_path / "spec.yaml"
        path.write_text(SPEC)
        return make_plans(load(path, CATALOG, settings), as_it_stands)[seed]

    return make


def run(plan: TrialPlan, folder: Path) -> Trial:
    return run_trial(plan, CATALOG, prepare(plan.data, CATALOG), Store(folder / plan.key), Reports())


def weights(plan: TrialPlan) -> dict[str, torch.Tensor]:
    return build_model(plan, CATALOG, prepare(plan.data, CATALOG)).state_dict()


def unit(tensor: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(tensor.double().flatten(), dim=0)


# --- the initial network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        "model.dropout=0.5",
        "data.augment=[crop]",
        "data.validation=0.5",
        "stages.1.prune.amount=0.9",
        "model.widths=[4, 9]",  # the first layer
        "model.widths=[5, 8]",  # neither weight is of the same shape, the last layer's is
        "model.widths=[4, 8, 8]",
    ],
)
def test_variants_of_a_seed_begin_with_the_same_weights_where_names_and_shapes_are_the_same(
    setting: str, plan: Plan
) -> None:
    one, other = weights(plan()), weights(plan(setting))
    common = {name for name in one if name in other and one[name].shape == other[name].shape}
    assert common
    # A bias is drawn in bounds that go by the layer's inputs: with more of them it is the same but for a factor.
    assert all(torch.allclose(unit(one[name]), unit(other[name])) for name in common)
    assert all(torch.equal(one[name], other[name]) for name in common if name != "fc.bias")
    replicate = weights(plan(setting, seed=1))
    assert not torch.equal(unit(other["fc.bias"]), unit(replicate["fc.bias"]))


def test_the_stem_and_the_head_of_a_resnet_change_nothing_between_them(plan: Plan) -> None:
    one = weights(plan("model={name: resnet18, stem: imagenet}"))
    other = weights(plan("model={name: resnet18, stem: cifar, head: [16]}"))
    differing = {name for name in {**one, **other} if name not in one or name not in other}
    differing |= {name for name in {*one} & {*other} if not torch.equal(one[name], other[name])}
    assert differing == {"conv1.weight", "fc.weight", "fc.bias", "fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"}


def test_layers_of_one_shape_begin_with_different_weights(plan: Plan) -> None:
    found = weights(plan("model={name: resnet18, stem: cifar}"))
    same_shape = [found[f"layer1.{i}.conv{j}.weight"] for i in (0, 1) for j in (1, 2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(same_shape) for b in same_shape[:i])
    # As random as any: He's initialisation is normal, and no stream is another's.
    flat = torch.stack([weight.flatten() for weight in same_shape])
    assert torch.allclose(torch.corrcoef(flat), torch.eye(4), atol=0.03)
    assert flat.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


# --- stages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    ["model.dropout=0.5", "data.augment=[crop, flip, cutout]", "stages.1.prune.amount=0.9", "stages.0.look.anything=1"],
)
def test_variants_of_a_seed_see_the_same_order_and_draw_the_same_numbers(
    setting: str, plan: Plan, tmp_path: Path
) -> None:
    SEEN.clear()
    run(plan(), tmp_path)
    run(plan(setting), tmp_path)
    assert SEEN[:2] == SEEN[2:]
    assert SEEN[0] != SEEN[1]  # each stage has its own
    (first, second), _ = SEEN[0]
    assert first != second  # and each pass
    run(plan(setting, seed=1), tmp_path)
    assert SEEN[4] != SEEN[0]


def test_random_masks_of_rising_amounts_are_nested(plan: Plan, tmp_path: Path) -> None:
    kept = []
    for amount in (0.1, 0.2, 0.3):
        trial = run(plan(f"stages.1.prune={{amount: {amount}, criterion: random}}"), tmp_path)
        kept.append(torch.cat([mask.flatten() for mask in trial.masks.values()]))
    for more, fewer in pairwise(kept):
        assert not bool((fewer & ~more).any())
        assert int(fewer.sum()) < int(more.sum())


# --- what a trial hands out ----------------------------------------------------------------------------------------


def test_what_a_trial_hands_out_leaves_random_state_as_it_was(plan: Plan, tmp_path: Path) -> None:
    run(plan("stages.0=ask"), tmp_path)


def test_building_a_network_leaves_random_state_as_it_was(plan: Plan) -> None:
    mine = plan()
    arrays = prepare(mine.data, CATALOG)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build_model(mine, CATALOG, arrays)
    assert torch.equal(torch.get_rng_state(), before)
