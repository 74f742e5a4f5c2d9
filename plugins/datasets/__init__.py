"""Datasets: callables that return a `framework.Dataset` or a `framework.Source`."""

from collections.abc import Callable, Mapping

from framework import Dataset, Source, hookimpl
from framework_plugins.datasets.digits import digits
from framework_plugins.datasets.downloaded import cifar10, cifar100, fashion_mnist, mnist
from framework_plugins.datasets.hf import hf
from framework_plugins.datasets.imagefolder import imagefolder
from framework_plugins.datasets.npy import npy
from framework_plugins.datasets.npz import npz
from framework_plugins.datasets.tables import csv, parquet


@hookimpl
def register_datasets() -> Mapping[str, Callable[..., Dataset | Source]]:
    return {
        "cifar10": cifar10,
        "cifar100": cifar100,
        "csv": csv,
        "digits": digits,
        "fashion_mnist": fashion_mnist,
        "hf": hf,
        "imagefolder": imagefolder,
        "mnist": mnist,
        "npy": npy,
        "npz": npz,
        "parquet": parquet,
    }
