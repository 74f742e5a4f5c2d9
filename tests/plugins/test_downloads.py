import gzip
import hashlib
import pickle
import socket
import struct
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from torchvision import datasets

from framework import DataError
from framework_plugins.datasets import cifar10, mnist


@pytest.fixture
def server(tmp_path):
    """A web server of the folder ``tmp_path/www`` that notes what it is asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            if self.command == "GET":
                asked.append(self.path)

    www = tmp_path / "www"
    www.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=www)) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield www, f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


@pytest.fixture
def nowhere():
    """The address of a server that refuses every connection."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def tiny_cifar(server, tmp_path, monkeypatch):
    """Publishes CIFAR-10 in its real format, but with two images to train and one to test."""
    www, address, asked = server
    source = tmp_path / "made" / "cifar-10-batches-py"
    source.mkdir(parents=True)
    images = np.arange(3 * 3072).reshape(3, 3072).astype(np.uint8)
    (source / "data_batch_1").write_bytes(pickle.dumps({"data": images[:2], "labels": [1, 0]}))
    (source / "test_batch").write_bytes(pickle.dumps({"data": images[2:], "labels": [1]}))
    (source / "batches.meta").write_bytes(pickle.dumps({"label_names": ["plane", "car"]}))
    with tarfile.open(www / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(source, "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(www / "cifar-10-python.tar.gz"))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5(source / "data_batch_1")]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(source / "test_batch")]])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", md5(source / "batches.meta"))
    return images.reshape(3, 3, 32, 32), asked


def test_cifar10_is_downloaded_once_by_many_at_a_time(tiny_cifar, tmp_path):
    images, asked = tiny_cifar
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(cifar10, [tmp_path / "data"] * 4))
    for dataset in found:
        assert np.array_equal(dataset.train_images, images[:2])
        assert np.array_equal(dataset.test_images, images[2:])
        assert dataset.train_labels.tolist() == [1, 0]
        assert dataset.classes == ("plane", "car")
    # torchvision asks twice: for redirections, then for the file
    assert asked == ["/cifar-10-python.tar.gz"] * 2


def test_cifar10_mends_a_damaged_file_from_the_archive(tiny_cifar, tmp_path):
    images, asked = tiny_cifar
    cifar10(tmp_path / "data")
    (tmp_path / "data/cifar-10-batches-py/test_batch").write_bytes(b"damaged")
    assert np.array_equal(cifar10(tmp_path / "data").test_images, images[2:])
    assert len(asked) == 2


def test_a_dataset_that_cannot_be_reached_says_what_to_put_where(nowhere, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{nowhere}/cifar-10-python.tar.gz")
    root = tmp_path / "data"
    with pytest.raises(DataError) as caught:
        cifar10(root)
    assert str(caught.value) == (
        f"cifar10 is not in {root}/cifar-10-batches-py, and cannot be downloaded from "
        f"{nowhere}/cifar-10-python.tar.gz (Connection refused): put cifar-10-python.tar.gz into {root}, "
        "or use another dataset, such as --set data.name=digits"
    )


def test_a_dataset_that_is_damaged_and_cannot_be_reached_says_both(tiny_cifar, nowhere, tmp_path, monkeypatch):
    root = tmp_path / "data"
    cifar10(root)
    (root / "cifar-10-batches-py/test_batch").write_bytes(b"damaged")
    (root / "cifar-10-python.tar.gz").unlink()
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{nowhere}/cifar-10-python.tar.gz")
    with pytest.raises(DataError, match=r"^cifar10 is incomplete or damaged in .*, and cannot be downloaded from "):
        cifar10(root)


def test_a_server_without_the_file_is_told(server, tmp_path, monkeypatch):
    _, address, _ = server
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/cifar-10-python.tar.gz")
    with pytest.raises(DataError, match=r"\(the server answers 404 File not found\): put cifar-10-python"):
        cifar10(tmp_path / "data")


def test_a_damaged_download_is_told(tiny_cifar, server, tmp_path):
    www, _, _ = server
    (www / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    with pytest.raises(DataError, match=r"\(what arrived is damaged\): put cifar-10-python\.tar\.gz into"):
        cifar10(tmp_path / "data")


def test_a_download_leaves_the_timeout_of_other_sockets_alone(nowhere, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", nowhere)
    with pytest.raises(DataError):
        cifar10(tmp_path)
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def tiny_mnist(server, monkeypatch):
    """Publishes MNIST in its real format, but with two images to train and one to test."""
    www, address, _ = server
    images = np.arange(3 * 784).reshape(3, 28, 28).astype(np.uint8)
    resources = []
    for split, part, labels in (("train", images[:2], [7, 9]), ("t10k", images[2:], [3])):
        for kind, header, body in (
            ("images-idx3", struct.pack(">4i", 2051, len(part), 28, 28), part.tobytes()),
            ("labels-idx1", struct.pack(">2i", 2049, len(part)), bytes(labels)),
        ):
            file = www / f"{split}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + body))
            resources.append((file.name, md5(file)))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{address}/"])
    return images


def test_mnist_has_one_channel_and_its_labels(tiny_mnist, tmp_path):
    found = mnist(tmp_path / "data")
    assert np.array_equal(found.train_images, tiny_mnist[:2, np.newaxis])
    assert found.train_labels.tolist() == [7, 9]
    assert found.test_labels.tolist() == [3]
    assert found.classes[3] == "3 - three"


def test_mnist_that_is_damaged_says_what_to_delete(tiny_mnist, tmp_path):
    mnist(tmp_path / "data")
    raw = tmp_path / "data/MNIST/raw"
    file = raw / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError) as caught:
        mnist(tmp_path / "data")
    assert str(caught.value).startswith(f"mnist in {raw} is damaged (")
    assert str(caught.value).endswith("): delete that folder, and it is downloaded again")


def test_mnist_that_cannot_be_reached_names_its_files(nowhere, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{nowhere}/a/", f"{nowhere}/b/"])
    with pytest.raises(DataError) as caught:
        mnist(tmp_path)
    assert str(caught.value) == (
        f"mnist is not in {tmp_path}/MNIST/raw, and cannot be downloaded from {nowhere}/a/ (Connection refused): "
        "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
        f"t10k-labels-idx1-ubyte.gz into {tmp_path}/MNIST/raw, or use another dataset, such as --set data.name=digits"
    )
