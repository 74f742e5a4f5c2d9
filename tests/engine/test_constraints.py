"""What is held while an optimizer lives, for every optimizer that can be named, and masks that change meanwhile."""

from itertools import chain, repeat

import pytest
import torch
from torch import nn

from framework import ImageBatches, StageError, Trainer, trainable
from framework._component import build
from framework._engine.constraints import check_finite
from framework._masks import prunable
from framework._registry import installed

NAMES = sorted(installed().names("optimizer"))
# Options under which state is not 0, or not even a number, where gradients are.
ODD = {
    "adagrad": {"initial_accumulator_value": 0.1},
    "adam": {"eps": 0.0, "amsgrad": True},
    "adamw": {"eps": 0.0, "amsgrad": True},
    "adadelta": {"eps": 0.0},
    "rmsprop": {"eps": 0.0, "momentum": 0.9, "centered": True},
    "sgd": {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    "nadam": {"eps": 0.0},
    "radam": {"eps": 0.0},
}


def optimizer_of(name, params, **options):
    factory = build(installed(), "optimizer", {"name": name, **options})
    return factory(params=list(params))


def batches_of(data, batch_size=8):
    return list(ImageBatches(*data.train, data.mean, data.std, batch_size=batch_size, seed=0).epoch(0))


def forever(batches):
    return chain.from_iterable(repeat(batches))


def random_masks(weights, keep=0.6, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(w.shape, generator=generator) < keep for name, w in weights.items()}


def trainer_of(net, name, options=None, **held):
    params = trainable(net, held.get("frozen", {}))
    return Trainer(net, nn.CrossEntropyLoss(), optimizer_of(name, params, **(options or {})), **held)


def slots_of(trainer, weight):
    return {n: s for n, s in trainer.optimizer.state[weight].items() if s.dim()}


def assert_zero_where_masked(trainer, weights, masks):
    for name, mask in masks.items():
        weight = weights[name]
        assert bool((weight[~mask] == 0).all()), name
        for slot, value in slots_of(trainer, weight).items():
            closed = (
                ~mask.any(dim=[d for d in range(mask.dim()) if value.shape[d] < mask.shape[d]], keepdim=True)
                if (value.shape != mask.shape)
                else ~mask
            )
            assert bool((value[closed] == 0).all()), (name, slot)


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd"])
@pytest.mark.parametrize("name", NAMES)
def test_masked_weights_and_every_slot_of_every_optimizer_are_zero_after_every_step(name, odd, make_net, make_data):
    net = make_net()
    weights = prunable(net)
    masks = random_masks(weights)
    trainer = trainer_of(net, name, ODD.get(name) if odd else None, masks=masks)
    for _, batch in zip(range(8), forever(batches_of(make_data(), 4)), strict=False):  # RAdam rectifies from the 6th on
        trainer.step(*batch)
        assert_zero_where_masked(trainer, weights, masks)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_masked_is_zero_whatever_was_there_before(bad, make_net, make_data):
    class Bad(nn.CrossEntropyLoss):
        def forward(self, outputs, labels):
            # A gradient that is no number, of one weight alone.
            return super().forward(outputs, labels) + (net.fc.weight[0, 0] - net.fc.weight[0, 0].detach()) * bad

    net = make_net()
    masks = {"fc.weight": torch.ones(3, 24, dtype=torch.bool)}
    masks["fc.weight"][0, 0] = False
    net.fc.weight.data[0, 0] = bad
    trainer = Trainer(net, Bad(), optimizer_of("adam", net.parameters()), masks=masks, clip_norm=1.0)
    images, labels = batches_of(make_data())[0]
    trainer.step(images, labels)
    assert net.fc.weight[0, 0] == 0
    assert bool(net.fc.weight.isfinite().all())
    net.fc.weight.data[0, 0] = bad
    trainer.loss = nn.CrossEntropyLoss()
    trainer._constraints.restore()
    assert net.fc.weight[0, 0] == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128])
def test_any_kind_of_number_is_held(dtype):
    net = nn.Linear(6, 4, bias=False, dtype=dtype)
    mask = torch.arange(24).view(4, 6) % 3 > 0
    trainer = Trainer(net, nn.MSELoss(), torch.optim.SGD(net.parameters(), 0.1), masks={"weight": mask})
    before = net.weight.detach().clone()
    assert torch.equal(before != 0, mask)
    net.weight.data.fill_(torch.nan).masked_scatter_(mask, before[mask])
    trainer._constraints.restore()
    assert torch.equal(net.weight, before)


def test_a_layout_or_a_tensor_that_changes_under_the_trainer_is_held_all_the_same(make_net, make_data):
    net = make_net()
    masks = random_masks(prunable(net))
    trainer = trainer_of(net, "muon", masks=masks)
    net.to(memory_format=torch.channels_last)
    for batch in batches_of(make_data()):
        for parameter in net.parameters():
            parameter.data = parameter.data.clone()
        trainer.step(*batch)
        assert_zero_where_masked(trainer, prunable(net), masks)


# --- masks that change while the optimizer lives -------------------------------------------------------------------


def begin_of(name, slot, trainer):
    group = trainer.optimizer.param_groups[0]
    return {("rprop", "step_size"): group["lr"], ("adagrad", "sum"): group.get("initial_accumulator_value")}.get(
        (name, slot), 0.0
    )


@pytest.mark.parametrize("before", ["masked", "dense"])
@pytest.mark.parametrize("name", NAMES)
def test_where_a_mask_closes_or_opens_weights_and_state_begin_anew_and_the_rest_stays(
    name, before, make_net, make_data
):
    net = make_net()
    weights = prunable(net)
    old = random_masks(weights) if before == "masked" else {}
    trainer = trainer_of(net, name, ODD.get(name) if name in ("adagrad", "sgd") else None, masks=old)
    given = forever(batches_of(make_data()))
    for _, batch in zip(range(3), given, strict=False):
        trainer.step(*batch)
    new = random_masks(weights, keep=0.5, seed=4)
    new["conv2.weight"][0] = False  # a whole row
    values = {n: w.detach().clone() for n, w in weights.items()}
    states = {n: {s: v.clone() for s, v in slots_of(trainer, w).items()} for n, w in weights.items()}
    counters = {n: [float(v) for v in trainer.optimizer.state[w].values() if not v.dim()] for n, w in weights.items()}
    trainer.set_masks(new)
    for n, weight in weights.items():
        was = old.get(n, torch.ones_like(new[n]))
        stays, opens = was & new[n], ~was & new[n]
        assert torch.equal(weight, torch.where(stays, values[n], 0.0))
        for slot, value in slots_of(trainer, weight).items():
            if value.shape == weight.shape:
                fresh = torch.where(opens, begin_of(name, slot, trainer), 0.0)
                assert torch.equal(value, torch.where(stays, states[n][slot], fresh)), slot
            else:  # Adafactor's rows and columns
                dims = [d for d in range(weight.dim()) if value.shape[d] < weight.shape[d]]
                kept = stays.any(dim=dims, keepdim=True)
                assert torch.equal(value, torch.where(kept, states[n][slot], 0.0)), slot
        assert [float(v) for v in trainer.optimizer.state[weight].values() if not v.dim()] == counters[n]
    for _, batch in zip(range(2), given, strict=False):
        trainer.step(*batch)
        assert_zero_where_masked(trainer, weights, new)
        assert all(bool(weight.isfinite().all()) for weight in weights.values())
    # Of the row that is closed, the layers after it learn nothing.
    assert bool((net.conv1.weight[new["conv1.weight"]] != 0).all())
    trainer.set_masks({})
    trainer.step(*next(given))
    assert bool((net.conv1.weight != 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_state_stays_zero_also_where_masks_have_closed_in_place_of_a_step(name, make_net, make_data):
    net = make_net()
    weights = prunable(net)
    masks, given = random_masks(weights), forever(batches_of(make_data()))
    trainer = trainer_of(net, name)
    trainer.step(*next(given))
    trainer.step(*next(given), lambda: trainer.set_masks(masks))  # gives None, so that the optimizer makes no step
    for _, batch in zip(range(3), given, strict=False):
        trainer.step(*batch)
        assert_zero_where_masked(trainer, weights, masks)


def test_what_has_just_opened_makes_the_step_of_a_fresh_slot_by_hand():
    """Adam, whose counter goes on: m = 0.1 g and v = 0.001 g², corrected for the third step."""
    net = nn.Linear(2, 1, bias=False)
    mask = torch.tensor([[True, False]])
    trainer = Trainer(net, lambda out, _: out.sum(), torch.optim.Adam(net.parameters(), lr=0.5), masks={"weight": mask})
    x, y = torch.tensor([[1.0, 3.0]]), torch.zeros(1, dtype=torch.int64)
    trainer.step(x, y)
    trainer.step(x, y)
    assert net.weight[0, 1] == 0
    trainer.set_masks({})
    trainer.step(x, y)
    m, v = 0.1 * 3 / (1 - 0.9**3), 0.001 * 9 / (1 - 0.999**3)
    assert net.weight[0, 1].item() == pytest.approx(-0.5 * m / (v**0.5 + 1e-8), rel=1e-5)


def test_what_has_just_opened_in_rprop_steps_by_the_learning_rate():
    net = nn.Linear(2, 1, bias=False)
    trainer = Trainer(
        net,
        lambda out, _: out.sum(),
        torch.optim.Rprop(net.parameters(), lr=0.25),
        masks={"weight": torch.tensor([[True, False]])},
    )
    x, y = torch.tensor([[1.0, 3.0]]), torch.zeros(1, dtype=torch.int64)
    trainer.step(x, y)
    trainer.set_masks({})
    trainer.step(x, y)
    assert net.weight[0, 1].item() == -0.25


def test_a_gradient_that_waits_for_its_step_is_masked_as_well(make_net):
    net = make_net()
    trainer = trainer_of(net, "sgd")
    net.fc.weight.grad = torch.ones(3, 24)
    mask = torch.arange(72).view(3, 24) % 2 > 0
    trainer.set_masks({"fc.weight": mask})
    assert torch.equal(net.fc.weight.grad != 0, mask)


def test_masks_do_not_change_where_weights_are_frozen_and_nothing_changes_then(make_net):
    net = make_net()
    held = torch.arange(72).view(3, 24) < 10
    trainer = trainer_of(net, "adam", frozen={"fc.weight": held})
    before = {n: t.clone() for n, t in net.state_dict().items()}
    with pytest.raises(StageError) as error:
        trainer.set_masks({"conv1.weight": torch.zeros(4, 1, 3, 3, dtype=torch.bool), "fc.weight": ~held})
    assert str(error.value) == "the mask of fc.weight may not change where the weight is frozen: unfreeze it first"
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    trainer.set_masks({"fc.weight": held})
    assert torch.equal(net.fc.weight != 0, held)


def test_masks_that_do_not_fit_are_refused(make_net):
    net = make_net()
    with pytest.raises(StageError, match=r"^the mask of fc\.weight must be bool of shape \(3, 24\), not float32"):
        trainer_of(net, "sgd").set_masks({"fc.weight": torch.ones(3, 24)})
    with pytest.raises(StageError, match=r"^there is no parameter or buffer 'fc' to mask or freeze"):
        trainer_of(net, "sgd", frozen={"fc": torch.ones(3, 24, dtype=torch.bool)})


def test_training_goes_on_bit_for_bit_from_a_checkpoint_right_after_masks_have_changed(make_net, make_data):
    batches = [batch for _, batch in zip(range(6), forever(batches_of(make_data())), strict=False)]
    results = []
    for resumed in (False, True):
        net = make_net()
        weights = prunable(net)
        masks = random_masks(weights, seed=5)
        trainer = trainer_of(net, "adamax", masks=random_masks(weights))
        for batch in batches[:3]:
            trainer.step(*batch)
        trainer.set_masks(masks)
        if resumed:
            state = {n: t.clone() for n, t in net.state_dict().items()}
            progress, net = trainer.state_dict(), make_net(seed=1)
            net.load_state_dict(state)
            trainer = trainer_of(net, "adamax", masks=masks)
            trainer.load_state_dict(progress)
        for batch in batches[3:]:
            trainer.step(*batch)
        results.append({n: t.clone() for n, t in net.state_dict().items()})
    assert all(torch.equal(results[0][n], results[1][n]) for n in results[0])


# --- frozen buffers ------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Replaces one buffer in every forward pass, and changes another in place."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 3)
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x):
        if self.training:
            self.replaced = self.replaced + 1
            self.seen += 1
        return self.fc(x.flatten(1)) * (1 + self.seen[0])


def test_every_buffer_that_is_frozen_stands_still_also_in_part(make_data):
    net = Counting()
    frozen = {"replaced": torch.ones(2, dtype=torch.bool), "seen": torch.tensor([True, False])}
    trainer_of(net, "sgd", frozen=frozen).epoch(batches_of(make_data()))
    assert net.replaced.tolist() == [0, 0]
    assert net.seen.tolist() == [0, 3]
    trainer_of(net, "sgd").epoch(batches_of(make_data()))
    assert net.replaced.tolist() == [3, 3]


@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated")
@pytest.mark.parametrize("norm", [nn.utils.parametrizations.spectral_norm, torch.nn.utils.spectral_norm])
def test_a_frozen_layer_under_spectral_normalisation_computes_with_the_same_weight_throughout(norm, make_data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), norm(nn.Linear(64, 8)), nn.ReLU(), nn.Linear(8, 3))
    used = []
    net[1].register_forward_hook(lambda module, args, output: used.append(output[:1].detach() / 1))
    frozen = {n: torch.ones_like(t, dtype=torch.bool) for n, t in net.state_dict().items() if n.startswith("1.")}
    before = {n: t.clone() for n, t in net.state_dict().items()}
    trainer = trainer_of(net, "sgd", frozen=frozen)
    trainer._constraints.train_mode(net)
    images, labels = batches_of(make_data())[0]
    for _ in range(3):
        trainer.step(images, labels)
    assert all(torch.equal(output, used[0]) for output in used)
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items() if n in frozen)
    assert not torch.equal(before["3.weight"], net[3].weight)


def test_a_module_is_held_by_its_second_name(make_data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3))
    net.second = net[0]
    frozen = {f"second.{n}": torch.ones_like(t, dtype=torch.bool) for n, t in net[0].state_dict().items()}
    before = {n: t.clone() for n, t in net[0].state_dict().items()}
    net.forward = lambda x: net[2](net[1](net[0](x)))
    trainer_of(net, "sgd", frozen=frozen).epoch(batches_of(make_data()))
    assert all(torch.equal(before[n], t) for n, t in net[0].state_dict().items())


# --- weights that one cannot compute with --------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_weights_that_are_no_numbers_or_too_large_are_found_and_named(bad, make_net):
    net = make_net()
    net.conv2.weight.data[0, 0] = bad
    with pytest.raises(StageError) as error:
        check_finite(net)
    assert str(error.value) == (
        f"the weights became too large or NaN (the largest of conv2.weight is {abs(bad):.3g}): "
        "lower the learning rate or clip gradients"
    )
    net.conv2.weight.data[0, 0] = -1e15
    check_finite(net)


@pytest.mark.parametrize(("name", "lr"), [("sgd", 1e38), ("adam", 1e30), ("muon", 1e38)])
def test_a_last_step_that_ruins_the_network_is_an_error(name, lr, make_net, make_data):
    with pytest.raises(StageError, match=r"^the weights became too large or NaN"):
        trainer_of(make_net(), name, {"lr": lr}).epoch(batches_of(make_data())[:1])
