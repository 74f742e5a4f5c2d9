import copy
import math
from itertools import islice

import pytest
import torch
from torch import nn

from framework import StageError
from framework._batches import ImageBatches
from framework._engine import Trainer, trainable
from framework._masks import prunable
from framework_plugins.muon import Muon

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.5),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.05, weight_decay=0.1),
    "adafactor": lambda p: torch.optim.Adafactor(p, 0.01, weight_decay=0.1),
    "muon": lambda p: Muon(p, weight_decay=0.1),
}


class TwiceSGD(torch.optim.SGD):
    """A tiny SAM: climbs along the gradient, takes the gradient there, comes back and steps with it."""

    def __init__(self, params, lr, rho=0.05):
        super().__init__(params, lr, momentum=0.9)
        self.rho = rho
        self.losses = []

    def step(self, closure):
        with torch.enable_grad():
            self.losses.append(closure().item())
        params = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        moves = [p.grad * (self.rho / norm) for p in params]
        with torch.no_grad():
            torch._foreach_add_(params, moves)
        with torch.enable_grad():
            self.losses.append(closure().item())
        with torch.no_grad():
            torch._foreach_sub_(params, moves)
        super().step()


def batches_of(data, batch_size=8, seed=0):
    return ImageBatches(*data.train, data.mean, data.std, batch_size=batch_size, seed=seed)


def one_epoch(trainer, batches, steps=None):
    return trainer.epoch(islice(batches.epoch(trainer.steps // len(batches)), steps))


def random_masks(weights, keep=0.6):
    generator = torch.Generator().manual_seed(3)
    return {name: torch.rand(w.shape, generator=generator) < keep for name, w in weights.items()}


def weights_of(net):
    return prunable(net)


def state_of(net):
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def at_masked(optimizer, parameter, mask):
    """All of a parameter's optimizer state at its masked elements."""
    return [s[~mask] for s in optimizer.state[parameter].values() if s.shape == mask.shape]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_masks_the_weights_are_bitwise_those_of_a_plain_loop_over_the_same_batches(
    optimizer, make_net, make_data
):
    data = make_data(count=20)
    net, plain = make_net(dropout=0.5), make_net(dropout=0.5)
    loss = nn.CrossEntropyLoss()

    torch.manual_seed(5)
    trainer = Trainer(net, loss, OPTIMIZERS[optimizer](net.parameters()), clip_norm=0.5)
    trained = batches_of(data)
    measured = [one_epoch(trainer, trained) for _ in range(3)]

    torch.manual_seed(5)
    opt = OPTIMIZERS[optimizer](plain.parameters())
    plain.train()
    given = batches_of(data)
    for number, metrics in enumerate(measured):
        total, correct = 0.0, 0
        for images, labels in given.epoch(number):
            opt.zero_grad()
            outputs = plain(images)
            value = loss(outputs, labels)
            value.backward()
            nn.utils.clip_grad_norm_([p for group in opt.param_groups for p in group["params"]], 0.5)
            opt.step()
            total += value.item() * len(labels)
            correct += int((outputs.argmax(1) == labels).sum())
        assert metrics["train/loss"] == pytest.approx(total / 20, rel=1e-6)
        assert metrics["train/accuracy"] == correct / 20
    assert same(state_of(net), state_of(plain))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masked_weights_and_their_optimizer_state_are_exactly_zero_after_every_step(
    optimizer, precision, make_net, make_data
):
    net, data = make_net(), make_data()
    weights = weights_of(net)
    masks = random_masks(weights)
    trainer = Trainer(
        net, nn.CrossEntropyLoss(), OPTIMIZERS[optimizer](net.parameters()), masks=masks, precision=precision
    )
    before = state_of(net)
    for images, labels in batches_of(data, batch_size=4).epoch(0):
        trainer.step(images, labels)
        for name, weight in weights.items():
            assert bool((weight[~masks[name]] == 0).all())
            assert all(bool((s == 0).all()) for s in at_masked(trainer.optimizer, weight, masks[name]))
    for name, weight in weights.items():
        assert weight.dtype == torch.float32
        assert bool((weight[masks[name]] != before[name][masks[name]]).any())
        assert bool(weight[masks[name]].isfinite().all())


@pytest.mark.parametrize("masked", [True, False])
def test_torchs_own_muon_keeps_zeros_on_matrices(masked, make_data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16, bias=False), nn.ReLU(), nn.Linear(16, 3, bias=False))
    weights = weights_of(net)
    masks = random_masks(weights) if masked else {}
    optimizer = torch.optim.Muon(net.parameters(), 0.02, weight_decay=0.1)
    trainer = Trainer(net, nn.CrossEntropyLoss(), optimizer, masks=masks)
    for images, labels in batches_of(make_data()).epoch(0):
        trainer.step(images, labels)
        for name, weight in weights.items():
            if masked:
                assert bool((weight[~masks[name]] == 0).all())
                assert all(bool((s == 0).all()) for s in at_masked(optimizer, weight, masks[name]))
            else:
                assert bool((weight != 0).all())


def test_a_masked_network_trains_as_one_whose_masks_are_multiplied_in(make_net, make_data):
    """The gradients of the weights that are left do not know of the masking: plain SGD, by hand."""
    net, plain, data = make_net(), make_net(), make_data()
    masks = random_masks(weights_of(net))
    for model in (net, plain):
        for name, weight in weights_of(model).items():
            weight.data.mul_(masks[name])
    trainer = Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), 0.1), masks=masks)
    plain.train()
    for images, labels in batches_of(data).epoch(0):
        trainer.step(images, labels)
        plain.zero_grad()
        nn.functional.cross_entropy(plain(images), labels).backward()
        with torch.no_grad():
            for name, p in plain.named_parameters():
                p -= 0.1 * p.grad * masks.get(name, torch.tensor(True))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_elements_and_statistics_are_bit_identical_after_training(optimizer, make_net, make_data):
    net, data = make_net(), make_data()
    frozen = {
        "conv1.weight": torch.ones(4, 1, 3, 3, dtype=torch.bool),
        "conv1.bias": torch.ones(4, dtype=torch.bool),
        "conv2.weight": (torch.arange(96) < 50).view(6, 4, 2, 2),
        **{name: torch.ones_like(t, dtype=torch.bool) for name, t in net.state_dict().items() if "bn1" in name},
    }
    for p in net.parameters():
        p.grad = torch.ones_like(p)  # a stale gradient
    before = state_of(net)
    trainer = Trainer(
        net, nn.CrossEntropyLoss(), OPTIMIZERS[optimizer](trainable(net, frozen)), frozen=frozen, clip_norm=1.0
    )
    trained = batches_of(data, batch_size=5)
    for _ in range(2):
        one_epoch(trainer, trained)
    after = state_of(net)
    for name, held in frozen.items():
        assert torch.equal(before[name][held], after[name][held]), name
    assert bool((before["conv2.weight"] != after["conv2.weight"]).view(-1)[50:].any())
    for name in ("fc.weight", "fc.bias", "bn2.weight", "bn2.running_mean", "bn2.num_batches_tracked"):
        assert not torch.equal(before[name], after[name]), name
    assert not net.bn1.training
    assert net.bn2.training


def test_frozen_parameters_hold_still_even_if_the_optimizer_was_given_them_all(make_net, make_data):
    net = make_net()
    frozen = {"fc.weight": torch.ones(3, 24, dtype=torch.bool)}
    net.fc.weight.grad = torch.ones(3, 24)
    before = net.fc.weight.detach().clone()
    one_epoch(
        Trainer(net, nn.CrossEntropyLoss(), OPTIMIZERS["adamw"](net.parameters()), frozen=frozen),
        batches_of(make_data()),
    )
    assert torch.equal(net.fc.weight, before)


def test_masks_and_freezing_hold_together_in_one_tensor(make_net, make_data):
    net = make_net()
    masks = {"fc.weight": torch.arange(72).view(3, 24) % 3 > 0}
    frozen = {"fc.weight": torch.arange(72).view(3, 24) < 31}
    net.fc.weight.data.mul_(masks["fc.weight"])
    before = net.fc.weight.detach().clone()
    trainer = Trainer(net, nn.CrossEntropyLoss(), OPTIMIZERS["sgd"](trainable(net, frozen)), masks=masks, frozen=frozen)
    one_epoch(trainer, batches_of(make_data()))
    moved = net.fc.weight != before
    assert torch.equal(moved, masks["fc.weight"] & ~frozen["fc.weight"])


def test_a_tied_weight_is_held_by_whichever_name_it_is_masked_or_frozen(make_data):
    def tied():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 3))
        net[2].weight = net[1].weight
        return net

    held = torch.arange(64 * 64).view(64, 64) % 2 > 0
    for name in ("1.weight", "2.weight"):
        net = tied()
        trainer = Trainer(net, nn.CrossEntropyLoss(), OPTIMIZERS["sgd"](net.parameters()), masks={name: held})
        one_epoch(trainer, batches_of(make_data()))
        assert torch.equal(net[1].weight != 0, held)
        net = tied()
        frozen = {name: torch.ones(64, 64, dtype=torch.bool)}
        before = net[1].weight.detach().clone()
        one_epoch(
            Trainer(net, nn.CrossEntropyLoss(), OPTIMIZERS["sgd"](trainable(net, frozen)), frozen=frozen),
            batches_of(make_data()),
        )
        assert torch.equal(net[1].weight, before)


def test_trainable_leaves_out_what_is_frozen_whole_and_only_that(make_net):
    net = make_net()
    frozen = {"fc.weight": torch.ones(3, 24, dtype=torch.bool), "fc.bias": torch.tensor([True, False, True])}
    names = {name for name, p in net.named_parameters() if any(p is q for q in trainable(net, frozen))}
    assert names == {name for name, _ in net.named_parameters()} - {"fc.weight"}


def test_nothing_left_to_train_is_an_error(make_net):
    net = make_net()
    frozen = {name: torch.ones_like(p, dtype=torch.bool) for name, p in net.named_parameters()}
    with pytest.raises(StageError) as error:
        trainable(net, frozen)
    assert str(error.value) == "every parameter is frozen: nothing is left to train (unfreeze some first)"


def test_an_optimizer_that_calls_the_closure_twice_works_and_keeps_masks(make_net, make_data):
    net, data = make_net(), make_data()
    weights = weights_of(net)
    masks = random_masks(weights)
    for name, weight in weights.items():
        weight.data.mul_(masks[name])
    optimizer = TwiceSGD(net.parameters(), 0.05)
    trainer = Trainer(net, nn.CrossEntropyLoss(), optimizer, masks=masks)
    given = batches_of(data)
    first = one_epoch(trainer, given)
    assert len(optimizer.losses) == 6
    assert first["train/loss"] == pytest.approx(sum(optimizer.losses[::2]) / 3)  # that of the first pass
    for _ in range(15):
        last = one_epoch(trainer, given)
        assert all(torch.equal(w[~masks[n]], torch.zeros_like(w[~masks[n]])) for n, w in weights.items())
    assert last["train/loss"] < first["train/loss"] / 2


def test_lbfgs_fits_into_the_loop_and_keeps_masks(make_data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    masks = random_masks(weights_of(net))
    trainer = Trainer(net, nn.CrossEntropyLoss(), torch.optim.LBFGS(net.parameters(), 0.1, max_iter=4), masks=masks)
    given = batches_of(make_data(), batch_size=24)
    first = one_epoch(trainer, given)
    assert one_epoch(trainer, given)["train/loss"] < first["train/loss"]
    assert bool((net[1].weight[~masks["1.weight"]] == 0).all())


def test_the_schedule_is_asked_at_every_step_with_the_number_of_steps_made(make_net, make_data):
    net = make_net()
    optimizer = torch.optim.SGD([{"params": [net.fc.weight], "lr": 0.5}, {"params": [net.conv2.weight], "lr": 0.1}])
    asked, rates = [], []

    class Spy(nn.CrossEntropyLoss):
        def forward(self, outputs, labels):
            rates.append([group["lr"] for group in optimizer.param_groups])
            return super().forward(outputs, labels)

    def schedule(step):
        asked.append(step)
        return 1 - step / 8

    trainer = Trainer(net, Spy(), optimizer, schedule=schedule)
    given = batches_of(make_data(), batch_size=6)
    metrics = [one_epoch(trainer, given) for _ in range(2)]
    assert asked == list(range(8))
    factors = [1 - i / 8 for i in range(8)]
    assert rates == [[0.5 * f, 0.1 * f] for f in factors]
    assert [m["lr"] for m in metrics] == [0.5 * factors[3], 0.5 * factors[7]]


def test_without_a_schedule_the_learning_rate_is_the_optimizers(make_net, make_data):
    net = make_net()
    trainer = Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), 0.03))
    assert one_epoch(trainer, batches_of(make_data()))["lr"] == 0.03


def test_part_of_a_pass_counts_what_it_saw(make_net, make_data):
    net = make_net()
    seen = []

    class Spy(nn.CrossEntropyLoss):
        def forward(self, outputs, labels):
            loss = super().forward(outputs, labels)
            seen.append((len(labels), loss.item(), (outputs.argmax(1) == labels).sum().item()))
            return loss

    trainer = Trainer(net, Spy(), torch.optim.SGD(net.parameters(), 0.1))
    given = batches_of(make_data(count=22), batch_size=5)
    metrics = one_epoch(trainer, given, steps=2)
    assert trainer.steps == 2
    assert [n for n, _, _ in seen] == [5, 5]
    one_epoch(trainer, given, steps=100)
    assert trainer.steps == 7
    assert [n for n, _, _ in seen[2:]] == [5, 5, 5, 5, 2]
    assert metrics["train/loss"] == pytest.approx((5 * seen[0][1] + 5 * seen[1][1]) / 10)
    assert metrics["train/accuracy"] == (seen[0][2] + seen[1][2]) / 10
    assert metrics["images_per_second"] > 0


def test_gradients_are_clipped_together_after_masking(make_net, make_data):
    data = make_data()
    images, labels = next(batches_of(data).epoch(0))

    def moved(clip_norm, **held):
        net = make_net()
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), 1.0), clip_norm=clip_norm, **held).step(
            images, labels
        )
        return {name: before[name] - p.detach() for name, p in net.named_parameters()}

    def norm(moves):
        return torch.cat([m.flatten() for m in moves.values()]).norm().item()

    free = moved(None)
    assert norm(moved(0.01)) == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(moved(0.01)["fc.weight"], free["fc.weight"] * (0.01 / norm(free)), rtol=1e-3, atol=1e-8)
    masks = {"fc.weight": torch.zeros(3, 24, dtype=torch.bool)}
    rest = {name: m for name, m in moved(0.01, masks=masks).items() if name != "fc.weight"}
    assert norm(rest) == pytest.approx(0.01, rel=1e-3)
    frozen = {"fc.weight": torch.arange(72).view(3, 24) < 71}
    assert norm(moved(0.01, frozen=frozen)) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error(bad, make_net, make_data):
    class Bad(nn.CrossEntropyLoss):
        def forward(self, outputs, labels):
            return super().forward(outputs, labels) * bad

    net = make_net()
    trainer = Trainer(net, Bad(), torch.optim.SGD(net.parameters(), 0.1))
    with pytest.raises(StageError) as error:
        one_epoch(trainer, batches_of(make_data()), steps=1)
    assert str(error.value) == f"the training loss became {bad}: lower the learning rate or clip gradients"


def test_a_loss_that_is_no_scalar_is_an_error(make_net, make_data):
    net = make_net()
    trainer = Trainer(net, nn.CrossEntropyLoss(reduction="none"), torch.optim.SGD(net.parameters(), 0.1))
    with pytest.raises(StageError) as error:
        one_epoch(trainer, batches_of(make_data()))
    assert str(error.value) == "the loss must be a scalar, not of shape (8,)"


def test_an_optimizer_that_does_not_call_the_closure_is_an_error(make_net, make_data):
    class Idle(torch.optim.SGD):
        def step(self, closure=None):
            """Do nothing."""

    net = make_net()
    with pytest.raises(StageError) as error:
        one_epoch(Trainer(net, nn.CrossEntropyLoss(), Idle(net.parameters(), 0.1)), batches_of(make_data()))
    assert str(error.value) == "Idle.step did not call its closure, which computes the loss and the gradients"


def test_gradients_of_an_earlier_step_do_not_add_up(make_net, make_data):
    net, other = make_net(), make_net()
    images, labels = next(batches_of(make_data()).epoch(0))
    for p in net.parameters():
        p.grad = torch.full_like(p, 100.0)
    for model in (net, other):
        Trainer(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1)).step(images, labels)
    assert same(state_of(net), state_of(other))


def test_step_works_on_its_own_and_gives_loss_and_outputs_before_the_step(make_net, make_data):
    net = make_net()
    net.eval()
    images, labels = next(batches_of(make_data()).epoch(0))
    expected = copy.deepcopy(net).train()(images)
    loss, outputs = Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), 0.1)).step(images, labels)
    assert torch.equal(outputs, expected)
    assert loss.item() == nn.functional.cross_entropy(expected, labels).item()
    assert not outputs.requires_grad
    assert not loss.requires_grad


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_computes_in_its_format_and_learns(precision, make_net, make_data):
    net = make_net()
    dtypes = set()
    net.conv2.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    trainer = Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), 0.1), precision=precision)
    given = batches_of(make_data())
    losses = [one_epoch(trainer, given)["train/loss"] for _ in range(10)]
    assert dtypes == {getattr(torch, precision)}
    assert losses[-1] < losses[0] / 2


def test_a_step_that_overflows_in_float16_is_computed_again_with_a_smaller_scale(make_net, make_data):
    def trained(precision):
        net = make_net()
        # A thousand times the loss overflows at the scale that torch begins with, and a learning rate undoes it.
        trainer = Trainer(
            net,
            lambda outputs, labels: 1000 * nn.functional.cross_entropy(outputs, labels),
            torch.optim.SGD(net.parameters(), 1e-4),
            precision=precision,
        )
        passes = []
        net.conv1.register_forward_hook(lambda module, args, output: passes.append(1))
        for images, labels in batches_of(make_data(), batch_size=4).epoch(0):
            trainer.step(images, labels)
        return state_of(net), trainer, len(passes)

    (expected, _, steps), (found, trainer, passes) = trained("float32"), trained("float16")
    assert passes > steps == trainer.steps
    for name, value in expected.items():
        if name.endswith(("weight", "bias")):  # statistics of normalisation take each pass into account
            torch.testing.assert_close(found[name], value, rtol=0.02, atol=0.005)
    other = Trainer(
        make_net(), nn.CrossEntropyLoss(), torch.optim.SGD(make_net().parameters(), 1e-4), precision="float16"
    )
    other.load_state_dict(trainer.state_dict())
    assert other.state_dict()["scaler"] == trainer.state_dict()["scaler"]


def test_auto_precision_is_float32_on_the_cpu(make_net, make_data):
    net = make_net()
    dtypes = set()
    net.conv2.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    one_epoch(Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), 0.1)), batches_of(make_data()))
    assert dtypes == {torch.float32}


@pytest.fixture
def quick_compiler():
    """torch.compile without its code generator, which takes a minute on a CPU."""
    torch.compiler.set_default_backend("aot_eager")
    yield
    torch.compiler.set_default_backend("inductor")
    torch.compiler.reset()


@pytest.mark.usefixtures("quick_compiler")
def test_compiling_gives_the_same_training_and_keeps_masks_and_statistics(make_net, make_data):
    data = make_data(count=20)  # the last batch is smaller
    nets = {}
    for compiled in (False, True):
        net = nets[compiled] = make_net()
        masks = random_masks(weights_of(net))
        frozen = {name: torch.ones_like(t, dtype=torch.bool) for name, t in net.state_dict().items() if "bn1" in name}
        trainer = Trainer(
            net,
            nn.CrossEntropyLoss(),
            torch.optim.SGD(trainable(net, frozen), 0.1),
            masks=masks,
            frozen=frozen,
            compile=compiled,
        )
        given = batches_of(data)
        for _ in range(2):
            one_epoch(trainer, given)
        assert all(bool((w[~masks[n]] == 0).all()) for n, w in weights_of(net).items())
    for name, value in nets[False].state_dict().items():
        torch.testing.assert_close(nets[True].state_dict()[name], value, rtol=1e-3, atol=1e-5)
