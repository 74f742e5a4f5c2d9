"""Data sets in the formats of the library datasets, which the tests write with that library."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_digits

from framework import DataError, Dataset
from framework._component import build
from framework._registry import installed
from framework_plugins.datasets import hf, imagefolder

FOUND = load_digits()
DIGITS = (FOUND.images[:12] * 15).astype(np.uint8)
NAMES = [f"digit {name}" for name in range(10)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Digits, saved to disk: ten to train on and two to test on."""

    def save(labels: Any = None, feature: Any = None, images: Any = DIGITS, **splits: slice) -> Path:
        labels = [int(label) for label in FOUND.target[:12]] if labels is None else labels
        features = datasets.Features({"image": datasets.Image(), "label": feature or datasets.ClassLabel(names=NAMES)})
        splits = splits or {"train": slice(10), "test": slice(10, 12)}
        columns = {
            name: {"image": [Image.fromarray(image) for image in images[part]], "label": labels[part]}
            for name, part in splits.items()
        }
        sets = {name: datasets.Dataset.from_dict(rows, features=features) for name, rows in columns.items()}
        datasets.DatasetDict(sets).save_to_disk(str(tmp_path / "digits"))
        return tmp_path / "digits"

    return save


def test_what_save_to_disk_wrote_is_read_as_it_is(saved: Callable[..., Path]) -> None:
    found = hf(saved(), mode="L")
    assert np.array_equal(found.train_images, DIGITS[:10, np.newaxis])
    assert np.array_equal(found.test_images, DIGITS[10:, np.newaxis])
    assert (found.train_labels.tolist(), found.test_labels.tolist()) == (list(range(10)), [0, 1])
    assert found.classes == tuple(NAMES)
    rgb = hf(saved(), size=4)
    assert rgb.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("labels", "feature", "classes"),
    [
        ([7, -3] * 6, datasets.Value("int64"), ("-3", "7")),
        (["cat", "ant"] * 6, datasets.Value("string"), ("ant", "cat")),
    ],
)
def test_labels_without_names_are_the_values_that_occur(
    labels: list[Any], feature: Any, classes: tuple[str, ...], saved: Callable[..., Path]
) -> None:
    found = hf(saved(labels, feature))
    assert (found.classes, found.train_labels.tolist()) == (classes, [1, 0] * 5)


def test_columns_and_splits_are_named(saved: Callable[..., Path]) -> None:
    path = saved(train=slice(8), validation=slice(8, 12))
    datasets.load_from_disk(str(path)).rename_columns({"image": "img", "label": "fine"}).save_to_disk(f"{path}-named")
    found = hf(Path(f"{path}-named"), image="img", label="fine", test="validation")
    assert (len(found.train_labels), len(found.test_labels)) == (8, 4)


def test_a_folder_of_images_gives_what_imagefolder_gives(tmp_path: Path) -> None:
    for split, part in (("train", slice(0, 8)), ("test", slice(8, 12))):
        for i, (image, label) in enumerate(zip(DIGITS[part], FOUND.target[part], strict=True)):
            folder = tmp_path / "images" / split / f"parity {label % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")
    one, other = hf(tmp_path / "images", size=6), imagefolder(tmp_path / "images", 6)
    assert one.classes == other.classes
    assert sorted(map(bytes, one.train_images)) == sorted(map(bytes, other.train_images))
    assert np.bincount(one.test_labels).tolist() == np.bincount(other.test_labels).tolist()


def test_it_is_named_in_a_spec_and_a_folder_counts_by_what_is_in_it(saved: Callable[..., Path]) -> None:
    component = build(installed(), "dataset", {"name": "hf", "path": str(saved()), "mode": "L"})
    assert isinstance(component(validation=0.0), Dataset)
    assert component.plain(identity=True)["path"].startswith("listing:")
    named = build(installed(), "dataset", {"name": "hf", "path": "ylecun/mnist"})
    assert named.plain(identity=True)["path"] == "ylecun/mnist"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"test": "tset"}, " has no split 'tset' (did you mean 'test'?): name it as test: …"),
        ({"label": "labels"}, ", split train has no column 'labels' (did you mean 'label'?)"),
        ({"image": "label"}, ", split train: column 'label' must hold images, not ClassLabel"),
    ],
)
def test_what_is_missing_is_said(parameters: dict[str, str], message: str, saved: Callable[..., Path]) -> None:
    path = saved()
    with pytest.raises(DataError) as caught:
        hf(path, **parameters)
    assert str(caught.value) == f"{path}{message}"


def test_images_of_several_sizes_need_a_size(saved: Callable[..., Path]) -> None:
    path = saved(images=[*DIGITS[:11], DIGITS[11][:, :5]], train=slice(0, 12), test=slice(0, 1))
    with pytest.raises(DataError, match=r"split train: image 0 is 8×8, and image 11 is 8×5: resize them with size: …$"):
        hf(path)
    assert hf(path, size=8).shape == (3, 8, 8)


def test_rows_without_a_label_are_refused(saved: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"split test: column 'label' has rows without a label \(-1\)"):
        hf(saved([*range(10), -1, -1]))


def test_a_single_split_is_not_enough(saved: Callable[..., Path], tmp_path: Path) -> None:
    datasets.load_from_disk(str(saved()))["train"].save_to_disk(str(tmp_path / "one"))
    with pytest.raises(DataError, match="is a single split: save a DatasetDict of train and test"):
        hf(tmp_path / "one")


def test_a_damaged_folder_is_told(saved: Callable[..., Path]) -> None:
    path = saved()
    for file in path.rglob("*.arrow"):
        file.write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"^{path} cannot be read by datasets: "):
        hf(path)


def test_a_name_that_cannot_be_reached_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as caught:
        hf("ylecun/mnist")
    assert str(caught.value).startswith(
        "'ylecun/mnist' is neither a folder, nor in the cache of datasets, and cannot be downloaded ("
    )
    assert str(caught.value).endswith(
        "): where there is a network, save it with load_dataset(…).save_to_disk(FOLDER), and name that folder as path"
    )


def test_without_the_package_a_spec_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValidationError, match=r"needs the package datasets: pip install 'framework\[hf\]'"):
        build(installed(), "dataset", {"name": "hf", "path": "ylecun/mnist"})
