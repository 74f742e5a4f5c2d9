"""Scikit-learn's digits: real images that need no download."""

import numpy as np

from framework import Dataset


def digits() -> Dataset:
    """1,797 handwritten digits of 1×8×8 that come with scikit-learn; every fifth, of each class, is for testing.

    They are the test part of UCI's Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998).

    Example:
        data: {name: digits, validation: 0.1}
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    images = np.rint(found.images[:, np.newaxis] * (255 / 16)).astype(np.uint8)
    labels = found.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return Dataset(
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=tuple(str(name) for name in found.target_names),
    )
