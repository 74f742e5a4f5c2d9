import logging
import tempfile
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import framework_plugins.criteria
import framework_plugins.distributions
import framework_plugins.losses
import framework_plugins.models
import framework_plugins.optimizers
import framework_plugins.schedules
import framework_plugins.sparsifiers
import framework_plugins.stages
from framework import DataError, Dataset, Split, Stage, StageError, hookimpl
from framework._plan import as_it_stands, make_plans
from framework._random import derived_seed
from framework._registry import Registry
from framework._spec import load
from framework._store import Store
from framework._trial import Noted, Recorded, StagesEnded, build_model, prepare, run_trial
from framework._trial import data as data_module

BUILT_IN = [
    (getattr(framework_plugins, name), "framework 0")
    for name in ("criteria", "distributions", "losses", "models", "optimizers", "schedules", "sparsifiers", "stages")
]
STUDY = """
model: {name: convnet, widths: [4, 8], dropout: 0.2}
data: {name: toy, validation: 0.25, augment: [crop, flip]}
seeds: [0, 1]
defaults: {train: {batch_size: 8, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}}
stages:
  - train: {epochs: 2}
  - prune: {amount: 0.3}
  - train: {epochs: 1}
  - freeze: {fraction: 0.5, unit: weights}
  - unprune: {fraction: 0.5, start: random}
  - train: {steps: 3}
"""
PRUNABLE = 4 * 9 + 8 * 4 * 9 + 8 * 3


def toy(count: int = 40, channels: int = 1, empty_channel: bool = False) -> Dataset:
    """Noise in three brightnesses."""
    rng = np.random.default_rng(0)
    splits = {}
    for split, size in (("train", count), ("test", 15)):
        labels = np.arange(size, dtype=np.int64) % 3
        images = rng.integers(0, 128, (size, channels, 8, 8)) + 40 * labels[:, None, None, None]
        if empty_channel:
            images[:, 0] = 0
        splits |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    return Dataset(**splits, classes=("dark", "medium", "bright"))


READS: list[str] = []


class Counted(Split):
    """A split that notes when it is read."""

    def __iter__(self):
        READS.append("test")
        return super().__iter__()


@dataclass(frozen=True)
class Watch(Stage):
    """Count how often the test set is read from now on."""

    def run(self, trial):
        trial.data = replace(trial.data, test=Counted(*trial.data.test))


@dataclass(frozen=True)
class Draw(Stage):
    """Report a number of torch's global generator, and what the trial knows."""

    def run(self, trial):
        trial.report(
            {
                "drawn": torch.rand(()).item(),
                "seed": trial.seed,
                "own": torch.rand(3, generator=trial.generator()).sum().item(),
            }
        )


@dataclass(frozen=True)
class Count(Stage):
    """Report how many threads there are."""

    def run(self, trial):
        trial.initial_state()
        trial.report({"threads": torch.get_num_threads()})


@dataclass(frozen=True)
class Hasty(Stage):
    """Report whether convolutions may be rounded, and let them, for the whole process."""

    def run(self, trial):
        trial.report({"rounded": float(torch.backends.cudnn.allow_tf32 or torch.backends.cudnn.benchmark)})
        torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True


@dataclass(frozen=True)
class Rewind(Stage):
    """Take the network back to where it began."""

    def run(self, trial):
        trial.model.load_state_dict(trial.initial_state())


@dataclass(frozen=True)
class Say(Stage):
    """Tell the user something."""

    text: str = "hello"

    def run(self, trial):
        logging.getLogger("framework.plugin").warning("%s, user", self.text)
        logging.getLogger("framework.plugin").info("not for the user")


class Toys:
    @hookimpl
    def register_datasets(self):
        return {"toy": toy}

    @hookimpl
    def register_stages(self):
        return {"watch": Watch, "draw": Draw, "backwards": Rewind, "say": Say, "count": Count, "hasty": Hasty}

    @hookimpl
    def register_models(self):
        return {"none": lambda: None}


CATALOG = Registry([*BUILT_IN, (Toys(), "test 1")])


@pytest.fixture
def plans(tmp_path):
    def make(text=STUDY, *settings):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return make_plans(load(path, CATALOG, settings), as_it_stands)

    return make


class Reports:
    """Keeps what a trial reports."""

    def __init__(self):
        self.records, self.notes, self.ends = [], [], []
        self.recorded, self.noted = self.records.append, self.notes.append

    def staged(self, *ends):
        self.ends.extend(ends)

    def __call__(self, report):
        match report:
            case Recorded(record):
                self.recorded(record)
            case Noted(text):
                self.noted(text)
            case StagesEnded(ends):
                self.staged(*ends)


def run(plan, reports=None):
    """Run a trial alone, with a store of its own."""
    reports = reports or Reports()
    with tempfile.TemporaryDirectory() as folder:
        trial = run_trial(plan, CATALOG, prepare(plan.data, CATALOG), Store(folder), reports)
    return trial, reports.records


def final_state(trial):
    return trial.model.state_dict()


def comparable(records):
    return [(r.epoch, r.stage, {k: v for k, v in r.metrics.items() if k != "images_per_second"}) for r in records]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(final_state(a).values(), final_state(b).values(), strict=True))


def test_the_whole_trial_is_recorded_on_one_continuous_epoch_axis(plans):
    trial, records = run(plans()[0])
    # 30 images are left to train on: four steps a pass, of which the last stage makes three.
    assert [(r.epoch, r.stage) for r in records] == [
        (1, 0), (2, 0), (2, 1), (3, 2), (3, 3), (3, 4), (4, 5), (4, 5),
    ]  # fmt: skip
    assert [r.time for r in records] == sorted(r.time for r in records)
    train = {"train/loss", "train/accuracy", "lr", "images_per_second"}
    validated = {"val/loss", "val/accuracy"}
    measured = {"sparsity", "frozen", "empty_layers", "sparsity/features.0", "sparsity/features.4", "sparsity/fc"}
    for record in records[:-1]:
        trained = train if record.stage in (0, 2, 5) else set()
        assert set(record.metrics) == trained | validated | measured
    assert set(records[-1].metrics) == {"test/loss", "test/accuracy"} | measured
    assert trial.epoch == 4


def test_recorded_sparsity_and_frozen_fraction_are_a_recount_on_the_model(plans):
    trial, records = run(plans()[0])
    pruned = round(0.3 * PRUNABLE)
    # What is frozen stays pruned, and of the rest a half regrows.
    held = sum(int((~mask & trial.frozen[n]).sum()) for n, mask in trial.masks.items() if n in trial.frozen)
    left = pruned - round(0.5 * (pruned - held))
    by_stage = [0, 0, pruned, pruned, pruned, left, left, left]
    assert [r.metrics["sparsity"] for r in records] == [zeros / PRUNABLE for zeros in by_stage]
    assert [r.metrics["frozen"] for r in records] == [0] * 4 + [round(0.5 * PRUNABLE) / PRUNABLE] * 4
    last = records[-1].metrics
    layers = {name: m for name, m in trial.model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    zeros = {name: int((m.weight == 0).sum()) for name, m in layers.items()}
    assert {n: last[f"sparsity/{n}"] for n in layers} == {n: z / layers[n].weight.numel() for n, z in zeros.items()}
    assert last["sparsity"] == sum(zeros.values()) / sum(m.weight.numel() for m in layers.values())


def test_validation_and_test_metrics_are_those_of_the_final_network(plans):
    trial, records = run(plans()[0])
    for split, prefix in ((trial.data.validation, "val"), (trial.data.test, "test")):
        x = (split.images.float() / 255 - trial.data.mean.view(-1, 1, 1)) / trial.data.std.view(-1, 1, 1)
        with torch.no_grad():
            outputs = trial.model.eval()(x)
        record = next(r for r in reversed(records) if f"{prefix}/loss" in r.metrics)
        loss = nn.functional.cross_entropy(outputs, split.labels).item()
        assert record.metrics[f"{prefix}/loss"] == pytest.approx(loss, rel=1e-4)
        assert record.metrics[f"{prefix}/accuracy"] == int((outputs.argmax(1) == split.labels).sum()) / len(x)


@pytest.mark.parametrize(
    ("stages", "reads"),
    [
        ("[watch, train: {epochs: 3}, prune: {amount: 0.1}]", 1),
        ("[watch, train: {epochs: 1}, test]", 1),
        ("[watch, test, train: {epochs: 1}]", 2),
        ("[watch]", 1),
    ],
)
def test_the_test_set_is_read_once_at_the_end_and_by_an_explicit_test_stage(stages, reads, plans):
    READS.clear()
    text = "model: convnet\ndata: {name: toy, validation: 0.25}\nstages:\n" + "\n".join(
        f"  - {{{s.strip()}}}" if ":" in s else f"  - {s.strip()}" for s in stages[1:-1].split(", ")
    )
    _, records = run(plans(text)[0])
    assert len(READS) == reads
    assert sum("test/accuracy" in r.metrics for r in records) == reads
    assert "test/accuracy" in records[-1].metrics


def test_without_a_validation_set_nothing_is_held_out_and_none_is_reported(plans):
    trial, records = run(plans(STUDY, "data.validation=0")[0])
    assert trial.data.validation is None
    assert len(trial.data.train.images) == 40
    assert not any(name.startswith("val/") for r in records for name in r.metrics)


def test_two_runs_of_a_trial_are_bitwise_equal_whatever_ran_before(plans):
    plan = plans()[0]
    first, records = run(plan)
    torch.manual_seed(99)
    torch.rand(7)
    second, again = run(plan)
    assert same(first, second)
    assert comparable(records) == comparable(again)


def test_each_stage_uses_as_many_threads_as_the_plan_says_also_beside_what_is_restored(plans, tmp_path):
    plan, *_ = plans(STUDY.replace("  - train: {epochs: 2}", "  - count").partition("  - freeze")[0] + "  - count\n")
    source = prepare(plan.data, CATALOG)
    try:
        for threads, counted in (((2, 1, 1, 3), [2, 3]), ((1, 1, 1, 1), [2, 3])):
            reports = Reports()
            run_trial(replace(plan, threads=threads), CATALOG, source, Store(tmp_path / "store"), reports)
            assert [r.metrics["threads"] for r in reports.records if "threads" in r.metrics] == counted
            assert torch.get_num_threads() == threads[-1]  # what is left is the test
    finally:
        torch.set_num_threads(1)


def test_what_a_stage_sets_for_gpus_is_neither_for_the_next_one_nor_for_the_next_trial(plans):
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    _, records = run(plans(STUDY.partition("  - prune")[0] + "  - hasty\n  - hasty\n")[0])
    assert [record.metrics["rounded"] for record in records if "rounded" in record.metrics] == [0, 0]
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == before


def test_replicates_differ_from_the_start(plans):
    zero, one = plans()
    arrays = prepare(zero.data, CATALOG)
    starts = [build_model(p, CATALOG, arrays).state_dict()["fc.weight"] for p in (zero, one)]
    assert not torch.equal(*starts)
    assert not same(run(zero)[0], run(one)[0])


def test_trials_with_a_common_prefix_agree_on_it_bitwise(plans):
    a = plans()[0]
    b = plans(STUDY.replace("unprune: {fraction: 0.5, start: random}", "unprune: {start: before}"))[0]
    assert a.keys[:5] == b.keys[:5]
    assert a.keys[5] != b.keys[5]
    records = [comparable(run(plan)[1]) for plan in (a, b)]
    assert records[0][:5] == records[1][:5]
    assert records[0][5:] != records[1][5:]


def test_every_stage_is_seeded_by_its_place_not_by_what_ran_before(plans):
    text = "model: convnet\ndata: toy\nstages: [draw, draw]\n"
    plan = plans(text)[0]
    _, records = run(plan)
    first, second = (r.metrics for r in records[:2])
    for index, metrics in enumerate((first, second)):
        seed = derived_seed(plan.seed, "stage", index)
        assert metrics["seed"] == float(seed)
        torch.manual_seed(seed)
        assert metrics["drawn"] == torch.rand(()).item()
    assert first["drawn"] != second["drawn"]
    assert first["seed"] != second["seed"]
    assert first["own"] != second["own"]
    assert 0 <= first["seed"] < 2**63
    _, again = run(plans(text)[0])
    assert comparable(again) == comparable(records)


def test_the_initial_state_can_be_had_back_at_any_time(plans):
    plan = plans("model: convnet\ndata: toy\nstages:\n  - train: {epochs: 1}\n  - backwards\n")[0]
    trial, _ = run(plan)
    start = build_model(plan, CATALOG, prepare(plan.data, CATALOG)).state_dict()
    assert all(torch.equal(start[name], t) for name, t in trial.model.state_dict().items())


def test_regrown_weights_can_start_at_their_initial_values(plans):
    text = (
        "model: convnet\ndata: toy\nstages:\n  - train: {epochs: 1}\n  - prune: {amount: 1}\n"
        "  - unprune: {start: initial}\n"
    )
    plan = plans(text)[0]
    trial, _ = run(plan)
    start = build_model(plan, CATALOG, prepare(plan.data, CATALOG)).state_dict()
    assert all(torch.equal(start[name], w) for name, w in trial.weights().items())


def test_what_plugins_have_to_say_reaches_the_user_and_nobody_else(plans, caplog):
    reports = Reports()
    notes = reports.notes
    run(plans("model: convnet\ndata: toy\nstages:\n  - say: {text: hi}\n  - say\n")[0], reports)
    assert notes == ["hi, user", "hello, user"]
    assert caplog.records == []
    logging.getLogger("framework.plugin").warning("later")
    assert notes == ["hi, user", "hello, user"]
    assert [r.getMessage() for r in caplog.records] == ["later"]


def test_a_model_that_is_no_module_is_an_error(plans):
    plan = plans("model: none\ndata: toy\nstages: [draw]\n")[0]
    with pytest.raises(StageError) as error:
        run(plan)
    assert str(error.value) == "model 'none' gave a NoneType, not a torch.nn.Module"


def test_an_error_of_a_stage_reaches_the_caller_and_the_records_before_it_are_kept(plans):
    plan = plans("model: convnet\ndata: toy\nstages:\n  - train: {epochs: 1}\n  - unprune\n")[0]
    reports = Reports()
    with pytest.raises(StageError, match="nothing to unprune"):
        run(plan, reports)
    assert [(r.epoch, r.stage) for r in reports.records] == [(1, 0)]


# --- data ----------------------------------------------------------------------------------------------------------


def rows(images):
    return {image.tobytes() for image in images}


def data(validation, **parameters):
    return prepare({"dataset": {"name": "toy", **parameters}, "validation": validation, "augment": []}, CATALOG)


def test_the_validation_images_are_the_same_for_all_seeds_and_disjoint_from_the_training_images(plans):
    zero, one = plans()
    splits = [prepare(plan.data, CATALOG).splits for plan in (zero, one)]
    for name in ("train", "validation", "test"):
        assert all(np.array_equal(a, b) for a, b in zip(splits[0][name], splits[1][name], strict=True))
    train, validation = (rows(splits[0][name][0]) for name in ("train", "validation"))
    assert not train & validation
    assert train | validation == rows(toy().train_images)
    assert (len(train), len(validation)) == (30, 10)


@given(
    counts=st.lists(st.integers(1, 300), min_size=1, max_size=12),
    part=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
@settings(deadline=None)
def test_each_class_is_held_out_alike_to_less_than_an_image_and_all_together_exactly(counts, part):
    labels = np.repeat(np.arange(len(counts)) * 7, counts)
    held_out = round(part * len(labels))
    assume(0 < held_out < len(labels))
    held, rest = data_module._stratified(labels, held_out)
    assert len(held) == held_out
    assert sorted([*held, *rest]) == list(range(len(labels)))
    for label, count in zip(np.unique(labels), counts, strict=True):
        assert abs((labels[held] == label).sum() - count * held_out / len(labels)) < 1


def test_validation_and_training_images_are_in_random_order():
    held, rest = data_module._stratified(np.repeat([0, 1], 500), 300)
    for chosen in (held, rest):
        assert abs(np.corrcoef(chosen, np.arange(len(chosen)))[0, 1]) < 0.2


def test_held_out_images_keep_their_labels():
    whole = toy()
    labels = {i.tobytes(): y for i, y in zip(whole.train_images, whole.train_labels, strict=True)}
    for name in ("train", "validation"):
        images, found = data(0.25).splits[name]
        assert [labels[i.tobytes()] for i in images] == found.tolist()


@pytest.mark.parametrize(("validation", "held_out"), [(0.1, 4), (0.5, 20), (0.013, 1), (0.98, 39)])
def test_the_number_held_out_is_the_rounded_fraction(validation, held_out):
    assert len(data(validation).splits["validation"][0]) == held_out
    assert len(data(validation).splits["train"][0]) == 40 - held_out


@pytest.mark.parametrize(
    ("validation", "text"),
    [
        (0.01, "validation: 0.01 of 40 training inputs leaves 40 to train on and 0 to validate on"),
        (0.999, "validation: 0.999 of 40 training inputs leaves 0 to train on and 40 to validate on"),
    ],
)
def test_a_split_with_an_empty_side_is_an_error(validation, text):
    with pytest.raises(DataError) as error:
        data(validation)
    assert str(error.value) == text


def test_mean_and_deviation_are_those_of_the_training_images_alone():
    found = data(0.25, channels=3)
    images = found.splits["train"][0].astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, images.mean((0, 2, 3)))
    np.testing.assert_allclose(found.std, images.std((0, 2, 3)))
    assert found.mean != data(0.0, channels=3).mean


def test_a_constant_channel_is_not_divided_by_zero():
    found = data(0.25, channels=2, empty_channel=True)
    assert found.mean[0] == 0
    assert found.std[0] == 1 / 255


def test_a_trial_does_not_write_to_the_shared_arrays(plans, tmp_path):
    plan = plans()[0]
    arrays = prepare(plan.data, CATALOG)
    for images, labels in arrays.splits.values():
        images.flags.writeable = labels.flags.writeable = False  # as Ray's object store gives them
    before = {name: (i.copy(), y.copy()) for name, (i, y) in arrays.splits.items()}
    trial = run_trial(plan, CATALOG, arrays, Store(tmp_path / "stages"), Reports())
    assert trial.data.train.images.data_ptr() == arrays.splits["train"][0].ctypes.data
    for name, (images, labels) in before.items():
        assert np.array_equal(arrays.splits[name][0], images)
        assert np.array_equal(arrays.splits[name][1], labels)
