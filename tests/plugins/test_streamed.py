"""Images that are read as they are needed, through specs and trials as any other data."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_trial import Reports

from framework import Data, DataError, Dataset, SpecError, StageError
from framework._component import build
from framework._plan import as_it_stands, make_plans
from framework._registry import Registry, installed
from framework._spec import load
from framework._store import Store
from framework._trial import prepare, run_trial

CPU = torch.device("cpu")
RANDOM = [{"name": "RandomResizedCrop", "size": 6}, "RandomHorizontalFlip", "RandAugment"]
SPEC = """
model: {name: convnet, widths: [4], dropout: 0.2}
data:
  name: imagefolder
  root: images
  size: 8
  validation: 0.25
  loader: {workers: 0, transforms: [{name: RandomResizedCrop, size: 8}, RandAugment], mixup: 0.2, cutmix: 1}
stages:
  - train: {epochs: 3, batch_size: 4}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images of 8×8 to train on and four to test on, as files and as arrays."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("arrays").mkdir()
    for split, count in (("train", 12), ("test", 4)):
        images = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        for i, image in enumerate(images):
            file = Path("images", split, "ab"[i % 2], f"{i:02}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
        np.save(f"arrays/x_{split}.npy", images)
        np.save(f"arrays/y_{split}.npy", np.arange(count) % 2)
    return tmp_path


def opened(name: str, validation: float = 0.0, **parameters: Any) -> Data:
    given = {"imagefolder": {"root": "images", "size": 8, "loader": {}}, "npy": {"root": "arrays"}}[name]
    return build(installed(), "dataset", {"name": name, **given, **parameters})(validation=validation).open(CPU, ())


def pixels(data: Data, split: str, **options: Any) -> torch.Tensor:
    """What was read, uint8, in the order of its sum."""
    images = torch.cat([images for images, _ in data.batches(split, 4, **options).epoch(0)])
    mean, std = (torch.tensor(data.source.notes[f"data.{name}"]).view(1, -1, 1, 1) for name in ("mean", "std"))
    found = ((images * std + mean) * 255).round().to(torch.uint8)
    return found[found.sum((1, 2, 3)).argsort()]


def planned(text: str = SPEC, registry: Registry | None = None) -> Any:
    Path("spec.yaml").write_text(text)
    return make_plans(load(Path("spec.yaml"), registry or installed()), as_it_stands)[0]


def problem(text: str) -> str:
    Path("spec.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load(Path("spec.yaml"), installed())
    return str(caught.value)


def trained(text: str, store: str, report: Any = None) -> Any:
    plan = planned(text)
    source = prepare(plan.data, installed())
    return run_trial(plan, installed(), source, Store(store), report or Reports(), checkpoint_seconds=0)


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imagefolder", "npy"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_it_gives_the_images_that_there_are(name: str, split: str) -> None:
    whole = build(installed(), "dataset", {"name": "imagefolder", "root": "images", "size": 8})()
    assert isinstance(whole, Dataset)
    expected = torch.from_numpy(getattr(whole, f"{split}_images"))
    assert torch.equal(pixels(opened(name), split), expected[expected.sum((1, 2, 3)).argsort()])


def test_images_are_normalised_by_those_that_are_trained_on() -> None:
    data = opened("npy")
    images = torch.cat([images for images, _ in data.batches("train", 4).epoch(0)])
    assert torch.allclose(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(images.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)


def test_validation_images_are_held_out_of_each_class() -> None:
    data = opened("npy", validation=0.5)
    splits = {split: [*data.batches(split, 6).epoch(0)] for split in ("train", "validation")}
    assert [labels.bincount().tolist() for batches in splits.values() for _, labels in batches] == [[3, 3]] * 2
    held = {image.tobytes() for image in pixels(data, "validation").numpy()}
    assert not held & {image.tobytes() for image in pixels(data, "train").numpy()}


@pytest.mark.parametrize("name", ["imagefolder", "npy"])
def test_training_images_alone_are_transformed_anew_in_every_pass(name: str) -> None:
    data = opened(name, loader={"workers": 0, "transforms": RANDOM})
    assert data.shape == (3, 8, 8)
    first, second = (next(data.batches("train", 12, seed=0).epoch(number))[0] for number in range(2))
    assert first.shape == (12, 3, 6, 6)
    assert not torch.equal(first, second)
    tested = [next(data.batches("test", 4).epoch(number))[0] for number in range(2)]
    assert tested[0].shape == (4, 3, 8, 8)
    assert torch.equal(*tested)


def test_images_to_test_on_are_transformed_as_a_spec_says() -> None:
    data = opened("npy", loader={"workers": 0, "test_transforms": [{"name": "CenterCrop", "size": 4}]})
    assert data.shape == (3, 4, 4)
    whole, middle = pixels(opened("npy"), "test"), pixels(data, "test")
    assert {image.tobytes() for image in whole[:, :, 2:6, 2:6].numpy()} == {image.tobytes() for image in middle.numpy()}


@pytest.mark.parametrize("more", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_batches_are_mixed_as_their_labels_say(more: dict[str, float]) -> None:
    batches = [
        next(opened("npy", loader={"workers": 0, **options}).batches("train", 12, seed=1).epoch(0))
        for options in ({}, more)
    ]
    (images, labels), (mixed, shares) = batches
    assert shares.shape == (12, 2)
    other = labels.roll(1)
    differing = (labels != other).nonzero().flatten()
    share = shares[differing[0], labels[differing[0]]].item()  # of the image itself, the same for all
    assert 0 < share < 1
    one_hot = torch.nn.functional.one_hot(torch.stack([labels, other]), 2)
    assert torch.allclose(shares, share * one_hot[0] + (1 - share) * one_hot[1])
    if "mixup" in more:
        assert torch.allclose(mixed, share * images + (1 - share) * images.roll(1, 0), atol=1e-5)
    else:
        kept = (mixed == images).all(1)
        assert torch.where(kept.unsqueeze(1), images, images.roll(1, 0)).equal(mixed)
        assert kept.float().mean().item() == pytest.approx(share)


def test_both_kinds_of_mixing_are_drawn_batch_by_batch() -> None:
    plain, mixed = (
        [*opened("npy", loader={"workers": 0, **more}).batches("train", 2, seed=0).epoch(0)]
        for more in ({}, {"mixup": 1.0, "cutmix": 1.0})
    )
    kept = [bool((a == b).all(1).any()) for (a, _), (b, _) in zip(plain, mixed, strict=True)]
    assert {*kept} == {True, False}  # CutMix leaves pixels as they are, mixup none


# --- in trials ---------------------------------------------------------------------------------------------------


def test_a_trial_ends_equal_with_any_number_of_workers_and_when_it_is_resumed() -> None:
    class KilledError(Exception):
        pass

    def kill_after_two_epochs(report: Any) -> None:
        seen(report)
        if len(seen.records) == 2:
            raise KilledError

    first = trained(SPEC, "one")
    assert 0 <= first.records[-1].metrics["test/accuracy"] <= 1
    for workers in (1, 2):
        text, store, seen = SPEC.replace("workers: 0", f"workers: {workers}"), f"with {workers}", Reports()
        assert planned(text).key == planned(SPEC).key
        if workers == 2:
            with pytest.raises(KilledError):
                trained(text, store, kill_after_two_epochs)
            assert [record.epoch for record in seen.records] == [1, 2]
        again = trained(text, store)
        state, other = first.model.state_dict(), again.model.state_dict()
        assert all(torch.equal(state[name], other[name]) for name in state)
        losses = [[record.metrics["train/loss"] for record in trial.records[:3]] for trial in (first, again)]
        assert losses[0] == losses[1]


@pytest.mark.parametrize("loss", ["cross_entropy", "{name: cross_entropy, label_smoothing: 0.1}", "bce"])
def test_losses_take_the_labels_of_mixed_images(loss: str) -> None:
    text = SPEC.replace("{epochs: 3, batch_size: 4}", f"{{steps: 1, batch_size: 4, loss: {loss}}}")
    assert 0 < trained(text, "store").records[0].metrics["train/loss"] < 10


def test_mixed_images_are_of_no_class_that_could_be_asked_for() -> None:
    text = SPEC.replace("train: {epochs: 3, batch_size: 4}", "prune: {amount: 0.5, criterion: grasp}")
    with pytest.raises(StageError, match="images of each class are asked for, and targets are no classes"):
        trained(text, "store")


def test_what_is_sent_to_trials_holds_no_pixels() -> None:
    plan = planned(SPEC.replace("imagefolder\n  root: images\n  size: 8", "npy\n  root: arrays"))
    source = prepare(plan.data, installed())
    Path("arrays/x_train.npy").unlink()
    assert len(pickle.dumps(source)) < 3000
    pickle.loads(pickle.dumps(source)).open(CPU, ())


def test_a_transform_may_be_in_a_file() -> None:
    Path("mine.py").write_text(
        "from torch import nn\n\n\nclass Black(nn.Module):\n"
        "    def __init__(self, times: int = 0):\n        super().__init__()\n        self.times = times\n\n"
        "    def forward(self, image):\n        return image * self.times\n"
    )
    text = SPEC.replace("RandAugment]", '{name: "./mine.py:Black", times: 0}]').replace("workers: 0", "workers: 1")
    plan = planned(text)
    assert "./mine.py" in plan.plugins
    registry = installed().with_code(plan.code)
    source = pickle.loads(pickle.dumps(prepare(plan.data, registry)))
    black = torch.tensor([-mean / std for mean, std in zip(source.mean, source.std, strict=True)])
    images, _ = next(source.open(CPU, ()).batches("train", 4, seed=0).epoch(0))
    assert torch.allclose(images, black.view(1, 3, 1, 1).expand_as(images), atol=1e-5)


# --- what is wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_decoded_is_named(workers: int) -> None:
    data = opened("imagefolder", loader={"workers": workers})
    Path("images/train/b/03.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^images/train/b/03\.png cannot be read as an image: cannot identify"):
        list(data.batches("train", 4, seed=0).epoch(0))


def test_images_that_are_left_of_different_sizes_are_named() -> None:
    Image.new("RGB", (9, 9)).save("images/train/a/00.png")
    data = opened("imagefolder", loader={"workers": 0, "transforms": ["RandomHorizontalFlip"]})
    with pytest.raises(DataError, match=r"one shape, not \(3, .*\.png and \(3, .*\.png"):
        list(data.batches("train", 12, seed=0).epoch(0))


def test_a_transform_that_leaves_no_pixels_is_told_with_the_file() -> None:
    Path("mine.py").write_text(
        "from torch import nn\n\n\nclass Half(nn.Module):\n    def forward(self, image):\n        return image / 2\n"
    )
    plan = planned(SPEC.replace("RandAugment]", '"./mine.py:Half"]'))
    data = prepare(plan.data, installed().with_code(plan.code)).open(CPU, ())
    with pytest.raises(DataError, match=r"\.png cannot be read: TypeError: transforms must leave an image uint8"):
        list(data.batches("train", 4, seed=0).epoch(0))


FIRST = "data.loader.transforms.0"
SECOND = "data.loader.transforms.1"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("RandAugment]", "RandAugmnt]", f"8:73 {SECOND}: unknown transform 'RandAugmnt' (did you mean 'RandAugment'?)"),
        ("Crop, size: 8", "Crop, sise: 8", f"8:63 {FIRST}.sise: transform 'RandomResizedCrop' has no parameter 'sise'"),
        ("Crop, size: 8", "Crop, size: a", f"8:69 {FIRST}.size: must be an integer or a list, not 'a'"),
        (
            "RandAugment]",
            "{name: RandomInvert, p: 2}]",
            f"8:73 {SECOND}: transform 'RandomInvert': `p` should be",
        ),
        ("workers: 0", "workers: -1", "8:21 data.loader.workers: must be >= 0, not -1"),
    ],
)
def test_a_spec_is_told_what_is_wrong_with_a_transform(old: str, new: str, expected: str) -> None:
    assert f"spec.yaml:{expected}" in problem(SPEC.replace(old, new))


def test_augmentations_of_images_in_memory_are_refused() -> None:
    source = build(installed(), "dataset", {"name": "npy", "root": "arrays"})(validation=0.0)
    with pytest.raises(
        DataError, match=r"augment: flip, cutout is .*transforms: \[RandomHorizontalFlip, RandomErasing\]"
    ):
        source.open(CPU, ("flip", "cutout"))


def test_arrays_that_cannot_be_mapped_are_told_apart() -> None:
    def fault(**arrays: Any) -> str:
        for name, array in arrays.items():
            np.save(f"arrays/{name}.npy", array)
        with pytest.raises(DataError) as caught:
            opened("npy")
        return str(caught.value)

    images = np.load("arrays/x_train.npy")
    assert "x_train.npy is in Fortran order" in fault(x_train=np.asfortranarray(images))
    assert "x_train must be uint8 of shape (N, height, width, channels)" in fault(x_train=images.astype(np.float32))
    assert "x_train.npy cannot be mapped" in fault(x_train=np.array([None]))
    with open("arrays/x_train.npy", "wb") as file:
        np.savez(file, images)
    assert "x_train.npy is an archive, which cannot be mapped" in fault()
    Path("arrays/x_train.npy").unlink()
    assert "there is no arrays/x_train.npy: a dataset npy has x_train, y_train, x_test and y_test" in fault()
