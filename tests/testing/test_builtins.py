"""Every built-in component keeps the contracts that a third party's must keep."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from framework import Arrays, Multilabel, Regression, testing
from framework._component import KINDS, build
from framework._registry import installed

CHECKS = {kind: getattr(testing, f"check_{kind}") for kind in KINDS}
COMPONENTS = [(kind, name) for kind in KINDS for name in installed().names(kind)]
IMAGES = np.random.default_rng(0).normal(size=(48, 1, 8, 8))
PAIRS = IMAGES.reshape(48, -1)[:, :2]
QUANTITIES = Arrays(dict.fromkeys(("train", "test"), (IMAGES, PAIRS)), Regression(("one", "other"), (1, 2), (3, 4)))
LABELS = Arrays(dict.fromkeys(("train", "test"), (IMAGES, PAIRS > 0)), Multilabel(("one", "other")))
PARAMETERS = {
    "train": {"epochs": 4, "batch_size": 12, "optimizer": "adamw", "schedule": "cosine", "early_stopping": {}},
    "freeze": {"fraction": 0.5, "unit": "weights"},
    "prune": {"amount": 0.4, "criterion": "random"},
    "unprune": {"fraction": 0.5, "start": "random"},
    "fisher": {"images": 40},
    "grasp": {"per_class": 4},
    "gradual": {"amount": 0.9, "every": 2},
    "rigl": {"every": 2},
    "set": {"every": 2},
    "step": {"every": 0.3},
    "multistep": {"milestones": [0.3, 2]},
    "vgg": {"depth": 11, "shapes": [(1, 8, 8)]},
    "timm": {"architecture": "test_vit", "shapes": [(3, 32, 32)]},
    "torchvision": {"architecture": "squeezenet1_1", "shapes": [(3, 32, 32)]},
    "distill": {"teacher": "convnet", "epochs": 2, "batch_size": 12},
    "lenet5": {"shapes": [(1, 16, 16)]},
    "resnet18": {"head": [16], "shapes": [(1, 8, 8)]},
    # Of losses and metrics.
    **{name: {"data": QUANTITIES} for name in ("huber", "mae", "mse", "rmse", "r2")},
    "CenterCrop": {"size": 16},
    "GaussianBlur": {"kernel_size": 3},
    "Pad": {"padding": 2},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomAffine": {"degrees": 10, "scale": [0.8, 1.2]},
    "RandomCrop": {"size": 32, "padding": 4},
    "RandomPosterize": {"bits": 4},
    "RandomResizedCrop": {"size": [16, 8], "interpolation": "bicubic"},
    "RandomRotation": {"degrees": [-20, 10]},
    "RandomSolarize": {"threshold": 128},
    "Resize": {"size": 16},
}
OTHERS = [
    ("stage", "train", {"steps": 5, "batch_size": 12, "loss": {"name": "bce", "label_smoothing": 0.1}}),
    ("stage", "train", {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "channels_last": True}),
    ("stage", "train", {"epochs": 4, "batch_size": 12, "evaluate_every": 1, "early_stopping": {"restore_best": True}}),
    ("stage", "train", {"epochs": 2, "batch_size": 12, "ema": 0.9, "accumulate": 2, "layer_decay": 0.5}),
    ("stage", "freeze", {"fraction": 1.0}),
    ("stage", "freeze", {"layers": ["fc", "norm1"]}),
    ("stage", "prune", {"amount": 0.2, "of": "total"}),
    ("stage", "prune", {"amount": 0.9, "distribution": "layer"}),
    ("stage", "prune", {"amount": 0.9, "distribution": "erk", "criterion": "synflow", "rounds": 5}),
    ("stage", "prune", {"amount": 0.4, "granularity": "filters", "criterion": "slimming", "distribution": "erk"}),
    ("stage", "prune", {"granularity": {"n": 2, "m": 4}}),
    ("stage", "train", {"epochs": 2, "batch_size": 12, "sparsifier": {"name": "rigl", "every": 2}}),
    ("stage", "unprune", {"start": "before"}),
    ("stage", "unprune", {"start": "initial", "layers": ["conv2"]}),
    ("loss", "bce", {"data": LABELS}),
    *(("metric", name, {"data": LABELS}) for name in ("accuracy", "auroc", "average_precision", "f1", "iou", "recall")),
    ("metric", "accuracy", {"top_k": 2}),
    ("metric", "auroc", {"thresholds": 10}),
    ("model", "resnet18", {"stem": "cifar", "output": "softmax", "output_scale": 2.0, "shapes": [(3, 8, 8)]}),
]
# Read in tests/plugins/test_datasets.py, from made files.
DOWNLOADED = {"cifar10", "cifar100", "fashion_mnist", "mnist"}


@pytest.fixture
def on_disk(tmp_path):
    """Parameters of the datasets that read files, with files to read."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 8), ("test", 4)):
        images = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        arrays |= {f"x_{split}": images, f"y_{split}": np.arange(count) % 2}
        for i, image in enumerate(images):
            folder = tmp_path / "images" / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")
    np.savez(tmp_path / "arrays.npz", **arrays)
    table = pd.DataFrame(rng.normal(size=(40, 3)), columns=["a", "b", "c"]).assign(kind=["x", "y"] * 20)
    table.to_csv(tmp_path / "table.csv", index=False)
    table.to_parquet(tmp_path / "table.parquet")
    (tmp_path / "arrays").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "arrays" / f"{name}.npy", array)
    return {
        "npy": {"root": str(tmp_path / "arrays"), "loader": {"workers": 1, "mixup": 0.5}},
        "npz": {"path": str(tmp_path / "arrays.npz")},
        "csv": {"path": str(tmp_path / "table.csv"), "label": "kind"},
        "hf": {"path": str(tmp_path / "images")},
        "imagefolder": {"root": str(tmp_path / "images"), "size": 8},
        "parquet": {"path": str(tmp_path / "table.parquet"), "label": "kind"},
    }


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_it_keeps_the_contracts_of_its_kind(kind, name, on_disk):
    if kind == "dataset" and name in DOWNLOADED:
        pytest.skip("needs a download")
    parameters = on_disk if kind == "dataset" else PARAMETERS
    CHECKS[kind](installed().get(kind, name).factory, **parameters.get(name, {}))


@pytest.mark.parametrize(("kind", "name", "parameters"), OTHERS)
def test_it_keeps_them_with_other_parameters_too(kind, name, parameters):
    CHECKS[kind](installed().get(kind, name).factory, **parameters)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_it_refuses_a_parameter_that_it_does_not_have(kind, name):
    with pytest.raises(ValidationError, match=f"{kind} '{name}' has no parameter 'nonsense'"):
        build(installed(), kind, {"name": name, "nonsense": 1})
