import numpy as np
import pytest
from PIL import Image

from framework import DataError
from framework._registry import installed
from framework_plugins.datasets import digits, imagefolder, npz


def test_all_datasets_are_registered():
    assert installed().names("dataset") == [
        "cifar10",
        "cifar100",
        "digits",
        "fashion_mnist",
        "imagefolder",
        "mnist",
        "npz",
    ]


# --- digits ------------------------------------------------------------------------------------------------------


def test_digits_holds_out_a_fifth_of_each_class_and_always_the_same():
    first, second = digits(), digits()
    assert first.shape == (1, 8, 8)
    assert (len(first.train_labels), len(first.test_labels)) == (1437, 360)
    assert set(np.bincount(first.test_labels)) <= {35, 36, 37}
    assert (first.train_images.min(), first.train_images.max()) == (0, 255)
    assert first.classes == tuple("0123456789")
    assert np.array_equal(first.test_images, second.test_images)
    assert first.train_images.flags.c_contiguous


def test_digits_shares_no_image_between_training_and_test():
    def keys(images):
        return {image.tobytes() for image in images}

    found = digits()
    assert not keys(found.train_images) & keys(found.test_images)


# --- npz ---------------------------------------------------------------------------------------------------------


def arrays(**changed):
    random = np.random.default_rng(0)
    whole = {
        "x_train": random.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8),
        "x_test": random.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8),
        "y_test": np.array([2, 0]),
    }
    return {key: array for key, array in {**whole, **changed}.items() if array is not None}


@pytest.fixture
def archive(tmp_path):
    def save(**changed):
        np.savez(tmp_path / "data.npz", **arrays(**changed))
        return tmp_path / "data.npz"

    return save


def test_npz_turns_colour_images_channels_first(archive):
    found = npz(archive())
    assert np.array_equal(found.train_images, arrays()["x_train"].transpose(0, 3, 1, 2))
    assert found.train_images.flags.c_contiguous
    assert found.test_labels.tolist() == [2, 0]
    assert found.test_labels.dtype == np.int64
    assert found.classes == ("0", "1", "2")


def test_npz_gives_grey_images_one_channel(archive):
    found = npz(archive(x_train=np.zeros((6, 5, 4), np.uint8), x_test=np.zeros((2, 5, 4), np.uint8)))
    assert found.shape == (1, 5, 4)


def test_npz_takes_the_classes_names(archive):
    assert npz(archive(classes=np.array(["cat", "dog", "eel", "fox"]))).classes == ("cat", "dog", "eel", "fox")


IMAGES = "must be uint8 of shape (N, height, width, channels) or (N, height, width), not"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": None}, "has no array 'x_train' (it has: y_train, x_test, y_test)"),
        ({"x_train": np.zeros((6, 5, 4, 3))}, f": x_train {IMAGES} float64 of shape (6, 5, 4, 3)"),
        ({"x_test": np.zeros((2, 20), np.uint8)}, f": x_test {IMAGES} uint8 of shape (2, 20)"),
        ({"x_test": np.zeros((0, 5, 4, 3), np.uint8)}, f": x_test {IMAGES} uint8 of shape (0, 5, 4, 3)"),
        (
            {"x_train": np.zeros((6, 3, 5, 8), np.uint8)},
            ": x_train of shape (6, 3, 5, 8) has its channels first: they come last here, "
            "so save it as x.transpose(0, 2, 3, 1)",
        ),
        (
            {"x_test": np.zeros((2, 8, 8, 3), np.uint8)},
            ": images of x_test must have the shape of those of x_train, (5, 4, 3), not (8, 8, 3)",
        ),
        (
            {"y_train": np.zeros(5, np.int64)},
            ": y_train must be integers of shape (6,), as x_train has 6 images, not int64 of shape (5,)",
        ),
        (
            {"y_test": np.zeros(2)},
            ": y_test must be integers of shape (2,), as x_test has 2 images, not float64 of shape (2,)",
        ),
        ({"y_test": np.array([-1, 0])}, ": y_test must count classes from 0, but holds -1"),
        ({"classes": np.array(["a", "b"])}, ": y_train holds 2, but classes names only 0 to 1"),
        ({"classes": np.array([["a"]])}, ": classes must be of shape (classes,), not (1, 1)"),
        (
            {"classes": np.array(["a", None])},
            " cannot be read as an .npz archive: Object arrays cannot be loaded when allow_pickle=False",
        ),
    ],
)
def test_npz_names_file_key_and_what_is_wrong(archive, changed, message):
    path = archive(**changed)
    with pytest.raises(DataError) as caught:
        npz(path)
    assert str(caught.value) in (f"{path}{message}", f"{path} {message}")


def test_npz_names_a_missing_file(tmp_path):
    with pytest.raises(DataError) as caught:
        npz(tmp_path / "none.npz")
    assert str(caught.value) == f"{tmp_path / 'none.npz'}: there is no such file"


def test_npz_refuses_a_single_array(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"holds a single array, not an \.npz archive of x_train, "):
        npz(tmp_path / "x.npy")


@pytest.mark.parametrize("keep", [0, 100, 700])
def test_npz_says_that_a_damaged_file_cannot_be_read(archive, keep):
    path = archive()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"data\.npz cannot be read as an \.npz archive: "):
        npz(path)


# --- imagefolder -------------------------------------------------------------------------------------------------


def picture(path, colour, size=(10, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "train/red/a.png", (255, 0, 0))
    picture(tmp_path / "train/red/b.png", (250, 0, 0), size=(4, 9))
    picture(tmp_path / "train/blue/a.png", (0, 0, 255))
    picture(tmp_path / "test/red/a.png", 7)
    (tmp_path / "train/red/notes.txt").write_text("not an image")
    return tmp_path


def test_imagefolder_reads_classes_in_the_order_of_their_names(folder):
    found = imagefolder(folder, 4)
    assert found.classes == ("blue", "red")
    assert found.train_labels.tolist() == [0, 1, 1]
    assert found.test_labels.tolist() == [1]
    assert found.train_images.shape == (3, 3, 4, 4)
    assert found.train_images[:, :, 0, 0].tolist() == [[0, 0, 255], [255, 0, 0], [250, 0, 0]]
    assert found.test_images[0, :, 2, 2].tolist() == [7, 7, 7]  # grey becomes RGB


def test_imagefolder_takes_val_where_there_is_no_test(folder):
    (folder / "test").rename(folder / "val")
    assert len(imagefolder(folder, 4).test_labels) == 1


def test_imagefolder_resizes_the_shorter_side_and_crops_the_centre(folder):
    wide = np.zeros((6, 12, 3), np.uint8)
    wide[:, 3:9] = 255  # the centre square
    Image.fromarray(wide).save(folder / "test/red/a.png")
    assert (imagefolder(folder, 6).test_images == 255).all()


@pytest.mark.parametrize("keep", [0, 20, 45])
def test_imagefolder_names_a_damaged_file(folder, keep):
    file = folder / "train/red/b.png"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError) as caught:
        imagefolder(folder, 4)
    assert str(caught.value).startswith(f"{file} cannot be read as an image: ")


def test_imagefolder_names_what_is_missing(folder):
    def message(root):
        with pytest.raises(DataError) as caught:
            imagefolder(root, 4)
        return str(caught.value)

    assert message(folder / "none") == f"{folder / 'none'}: there is no such folder"
    (folder / "test/rad").mkdir()
    assert message(folder) == f"{folder / 'test/rad'}: train has no class 'rad' (did you mean 'red'?)"
    (folder / "test/rad").rename(folder / "test/blue")
    assert message(folder).startswith(f"{folder / 'test/blue'} holds no image (.bmp, .gif, ")
    (folder / "test").rename(folder / "tests")
    assert message(folder) == (f"{folder} has no folder test or val: images belong in train/CLASS/ and test/CLASS/")
