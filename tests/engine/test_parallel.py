"""Training on several processes: as on one but for the last digits, and equal on all of them, bit for bit."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ranks import Ranks, start_ranks
from torch import Tensor, nn

from framework import Classification, LoaderBatches, Multilabel
from framework import _ranks as ranks
from framework._engine import Tester, Trainer
from framework._ranks import LostRank


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    with start_ranks(4) as started:
        yield started


class Net(nn.Module):
    """A convolution and a linear layer, and one that has no part in the outputs."""

    def __init__(self, norm: type[nn.Module] = nn.Identity, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv, self.norm, self.dropout = nn.Conv2d(1, 4, 3), norm(4), nn.Dropout(dropout)
        self.fc, self.unused = nn.Linear(4 * 36, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.norm(self.conv(x)).relu().flatten(1)))


def network(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(**options)


def batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(sum(sizes), 1, 8, 8, generator=generator)
    return [*zip(images.split(sizes), torch.arange(sum(sizes)).remainder(3).split(sizes), strict=True)]


def same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


class TwiceSGD(torch.optim.SGD):
    """Takes the mean of two gradients, as optimizers do that call their closure more than once."""

    def step(self, closure: Any) -> Any:
        closure()
        first = [p.grad.clone() for p in self.param_groups[0]["params"] if p.grad is not None]
        loss = closure()
        for gradient, p in zip(first, (p for p in self.param_groups[0]["params"] if p.grad is not None), strict=True):
            p.grad.add_(gradient).div_(2)
        super().step()
        return loss


def consistency(forward: Any, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """An objective that calls the network twice."""
    outputs = forward(inputs)
    return nn.functional.cross_entropy(outputs, targets) + (outputs - forward(-inputs)).square().mean(), outputs


def train(sizes: tuple[int, ...], norm: type[nn.Module] = nn.Identity, **options: Any) -> tuple[Any, dict[str, float]]:
    """Train with masks and frozen elements for two passes.

    Returns:
        The state of the network, of the trainer and of torch's generator after that, and what was measured.
    """
    model = network(norm=norm, dropout=options.pop("dropout", 0.0))
    optimizer = options.pop("optimizer", torch.optim.SGD)
    mask, frozen = torch.arange(36).view(4, 1, 3, 3) % 3 > 0, torch.zeros(3, 4 * 36, dtype=torch.bool)
    frozen[0] = True
    before = model.fc.weight[0].clone()
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        optimizer(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01),
        masks={"conv.weight": mask},
        frozen={"fc.weight": frozen},
        **options,
    )
    torch.manual_seed(5)
    for _ in range(2):
        measured = trainer.epoch(batches(*sizes))
    assert not model.conv.weight[~mask].any()
    assert torch.equal(model.fc.weight[0], before)
    del measured["images_per_second"]
    return (dict(model.state_dict()), trainer.state_dict(), torch.get_rng_state()), measured


def _train(sizes: tuple[int, ...], options: dict[str, Any]) -> Any:
    return train(sizes, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate": 3},
        {"clip_norm": 0.1},
        {"ema": 0.9},
        {"optimizer": TwiceSGD},
        {"objective": consistency},
        {"norm": nn.BatchNorm2d, "sync_batchnorm": True},
        {"norm": nn.BatchNorm2d, "sync_batchnorm": True, "accumulate": 2},
    ],
    ids="-".join,
)
@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_end_as_one(four: Ranks, options: dict[str, Any], size: int) -> None:
    # Uneven ones, and some with fewer rows than there are processes; one of a single row has no variance.
    sizes = (8, 7, 3, 2 if "norm" in options else 1)
    (state, trainer, _), measured = train(sizes, **options)
    found = four.run(size, _train, sizes, options)
    for one in found:
        torch.testing.assert_close((one[0][0], one[0][1]), (state, trainer), rtol=1e-4, atol=1e-6)
        assert one[1] == pytest.approx(measured, rel=1e-4)
        same(one, found[0])
    same(four.run(size, _train, sizes, options), found)


def test_without_it_batch_normalisation_sees_each_ones_part_and_the_first_ones_statistics_are_kept(four: Ranks) -> None:
    options: dict[str, Any] = {"norm": nn.BatchNorm2d}
    found = four.run(2, _train, (8, 8), options)
    same(found[1], found[0])
    alone, _ = train((8, 8), **options)
    assert not torch.allclose(found[0][0][0]["norm.running_var"], alone[0]["norm.running_var"], rtol=1e-3)
    # A single step: the statistics are those of the first half of the batch.
    state = four.run(2, _first_statistics)[1]
    model = network(norm=nn.BatchNorm2d)
    model(batches(8)[0][0][:4])
    torch.testing.assert_close(state, model.norm.running_mean)


def _first_statistics() -> Tensor:
    model = network(norm=nn.BatchNorm2d)
    Trainer(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1)).step(*batches(8)[0])
    return model.norm.running_mean


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
def test_synchronised_batch_normalisation_learns_as_torchs_does(four: Ranks, layer: type[nn.Module]) -> None:
    rest = {nn.BatchNorm1d: (), nn.BatchNorm2d: (3, 2), nn.BatchNorm3d: (2, 1, 2)}[layer]
    for options in ({}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}):
        # In float32, gradients of such inputs have too few digits to be compared, but a variance has not.
        for lr, dtype in ((1e-3, torch.float64), (0.0, torch.float32)):
            expected = _normalised(layer, rest, options, lr, dtype)
            for found in four.run(2, _normalised, layer, rest, options, lr, dtype):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _normalised(layer: Any, rest: tuple[int, ...], options: Any, lr: float, dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(*(rest[-1:] or (3,)) * 2), layer(3, **options)).to(dtype)
    # With a mean that is large beside its deviation.
    inputs = 100 + torch.randn(5, 3, *rest, dtype=dtype)
    trainer = Trainer(
        model,
        lambda outputs, targets: (outputs.flatten(1).sum(1) * targets).square().mean(),
        torch.optim.SGD(model.parameters(), lr),
        sync_batchnorm=True,
        task=Classification(),
    )
    for _ in range(3):
        trainer.step(inputs, torch.arange(5, dtype=dtype))
    return model.state_dict()


def test_each_process_drops_other_units_and_the_global_generators_go_on_alike(four: Ranks) -> None:
    found = four.run(2, _train, (8, 8), {"dropout": 0.5})
    same(found[1], found[0])
    dropped = four.run(2, _dropped)
    same(dropped[0], dropped[1])
    first, second = dropped[0].chunk(2)
    assert not torch.equal(first, second)


def _dropped() -> Tensor:
    """The outputs of a step for equal rows, with dropout."""
    model = nn.Sequential(nn.Linear(4, 20), nn.Dropout(0.5))
    for p in model.parameters():
        nn.init.ones_(p)
    torch.manual_seed(3)
    return Trainer(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1)).step(
        torch.ones(4, 4), torch.zeros(4, dtype=torch.int64)
    )[1]


class _Counting(nn.Module):
    """A loss with a parameter that is trained, and a buffer that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.seen += outputs.detach()[0, 0]
        return nn.functional.cross_entropy(outputs * self.scale, targets)


def _with_own_loss() -> Any:
    model, loss = network(), _Counting()
    trainer = Trainer(model, loss, torch.optim.SGD([*model.parameters(), *loss.parameters()], 0.1))
    trainer.epoch(batches(8, 5))
    return dict(loss.state_dict())


def test_a_loss_is_trained_and_keeps_what_the_first_process_has_seen(four: Ranks) -> None:
    expected = _with_own_loss()
    for found in four.run(2, _with_own_loss):
        torch.testing.assert_close(found, expected)


def _measured(task: Any, targets: Tensor) -> tuple[dict[str, float], dict[str, bytes]]:
    model = network()
    tester = Tester(model, task.loss(), task=task, files=True)
    inputs = batches(len(targets))[0][0]
    return tester.evaluate(zip(inputs.split(6), targets.split(6), strict=True)), tester.meter.files()


@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (Classification(tuple("abc")), torch.arange(15) % 3),
        (Multilabel(tuple("abc")), (torch.arange(45) % 2).view(15, 3).float()),  # measured by torchmetrics
    ],
)
def test_an_evaluation_counts_every_input_once(four: Ranks, task: Any, targets: Tensor) -> None:
    measured, files = _measured(task, targets)
    for found in four.run(4, _measured, task, targets):
        assert found[0] == pytest.approx(measured)
        assert found[1] == files


class _Items:
    """Items with random numbers in them, which are counted as they are read."""

    read = 0

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        _Items.read += 1
        return torch.rand(2, 3) + index, index


def _loaded() -> tuple[list[Any], int]:
    _Items.read = 0
    made = LoaderBatches(_Items(), batch_size=4, device=torch.device("cpu"), seed=1, finish=_blend)
    return [batch for number in (0, 1) for batch in made.epoch(number)], _Items.read


def _blend(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return inputs * torch.rand(()), targets


def test_each_process_reads_some_of_the_batches_and_has_all_of_them(four: Ranks) -> None:
    expected, read = _loaded()
    assert read == 46
    found = four.run(4, _loaded)
    for batches_of_one, _ in found:
        same(batches_of_one, expected)
    # Six batches a pass, of which the last one has three rows.
    assert [count for _, count in found] == [2 * 8, 2 * 7, 2 * 4, 2 * 4]


def _exchanged() -> Any:
    mine = {"number": ranks.rank(), "strided": torch.arange(6.0).view(2, 3).t() + ranks.rank(), "empty": torch.ones(0)}
    with ranks.alone():
        assert (ranks.size(), ranks.rank(), ranks.decided(lambda: 5)) == (1, 0, 5)
    calls: list[int] = []
    decided = ranks.decided(lambda: calls.append(ranks.size()) or "made")
    taken = [torch.full((2,), ranks.rank()), torch.tensor(ranks.rank() == 0), torch.ones(3, 2).t() * ranks.rank()]
    ranks.take_from_first(taken)
    return ranks.agreed(mine), decided, calls, taken


def test_the_first_process_decides_alone(four: Ranks) -> None:
    for number, (agreed, decided, calls, taken) in enumerate(four.run(3, _exchanged)):
        assert (agreed["number"], decided) == (0, "made")
        same(agreed["strided"], torch.arange(6.0).view(2, 3).t())
        assert agreed["strided"].stride() == (1, 3)
        assert agreed["empty"].shape == (0,)
        assert calls == ([1] if number == 0 else [])
        same(taken, [torch.zeros(2, dtype=torch.int64), torch.tensor(True), torch.zeros(2, 3)])


def _lost() -> str:
    if ranks.rank() == 1:
        return "left"
    try:
        train((8, 8))
    except LostRank as error:
        return str(error)
    return "not noticed"


def test_a_process_that_leaves_is_missed_at_once(four: Ranks) -> None:
    first, second, third = four.run(3, _lost)
    assert second == "left"
    assert first.startswith("another process of the trial is gone: ")
    assert third.startswith("another process of the trial is gone: ")


@pytest.mark.parametrize(
    ("rows", "size", "counts"),
    [(8, 2, (4, 4)), (7, 2, (4, 3)), (3, 2, (3, 0)), (7, 4, (3, 2, 2, 0)), (1, 4, (1, 0, 0, 0)), (10, 4, (3, 3, 2, 2))],
)
def test_rows_are_split_evenly_and_nobody_has_a_single_one(
    monkeypatch: pytest.MonkeyPatch, rows: int, size: int, counts: tuple[int, ...]
) -> None:
    found, weights, batch = [], [], {"x": torch.arange(rows), "pair": [torch.arange(rows), torch.arange(rows)]}
    for rank in range(size):
        monkeypatch.setattr(ranks, "_now", ranks._Ranks(rank, size))
        share = ranks.share(rows)
        assert share.counts == counts
        weights.append(share.weight)
        mine = share.of(batch)
        assert torch.equal(mine["x"], mine["pair"][1])
        assert len(mine["x"])
        found += mine["x"].tolist() if share.counted else []
    assert found == [*range(rows)]
    assert sum(weights) / size == pytest.approx(1)


def test_a_batch_of_something_else_than_tensors_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_now", ranks._Ranks(0, 2))
    with pytest.raises(TypeError, match="by rows of tensors, which a str has not"):
        ranks.share(4).of("text")
