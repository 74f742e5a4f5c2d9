import io
import os
import struct
import zipfile
import zlib

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
        "csv",
        "digits",
        "fashion_mnist",
        "hf",
        "imagefolder",
        "mnist",
        "npy",
        "npz",
        "parquet",
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
    assert npz(archive(classes=np.array([b"cat", "Käfer".encode(), b"eel"]))).classes == ("cat", "Käfer", "eel")
    assert npz(archive(classes=np.array([10, 20, 30]))).classes == ("10", "20", "30")


def test_npz_has_the_labels_that_occur_as_classes_and_says_so(archive, caplog):
    path = archive(y_train=np.array([0, 1, 999_999_999, 0, 1, 7], np.uint32), y_test=np.array([999_999_999, 0]))
    found = npz(path)
    assert found.classes == ("0", "1", "7", "999999999")
    assert (found.train_labels.tolist(), found.test_labels.tolist()) == ([0, 1, 3, 0, 1, 2], [3, 0])
    assert found.train_labels.dtype == found.test_labels.dtype == np.int64
    said = f"{path}: the labels are not 0 to 3; the classes are the 4 that occur: 0, 1, 7, 999999999"
    assert [(r.name, r.getMessage()) for r in caplog.records] == [("framework", said)]
    caplog.clear()
    npz(archive())
    assert not caplog.records


def test_npz_reads_any_order_of_bytes_and_axes(archive):
    images = arrays()["x_train"]
    found = npz(archive(x_train=np.asfortranarray(images), y_train=arrays()["y_train"].astype(">i8")))
    assert np.array_equal(found.train_images, images.transpose(0, 3, 1, 2))
    assert found.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.train_labels.dtype == np.int64


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
        (
            {"y_train": np.array([0, 1, 2, 0, 1, 2**63], np.uint64)},
            f": y_train holds {2**63}, which is no 64-bit integer",
        ),
        (
            {"y_test": np.array(["a", "b"])},
            ": y_test must be integers of shape (2,), as x_test has 2 images, not <U1 of shape (2,)",
        ),
        (
            {"y_test": np.array([0, np.nan])},
            ": y_test must be integers of shape (2,), as x_test has 2 images, not float64 of shape (2,)",
        ),
        ({"classes": np.array([["a"]])}, ": classes must be names of shape (classes,), not <U1 of shape (1, 1)"),
        ({"classes": np.array([0.5, 1])}, ": classes must be names of shape (classes,), not float64 of shape (2,)"),
        (
            {"classes": np.array([b"a", b"b", b"\xff"])},
            ": classes must be text, or bytes in UTF-8: "
            "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
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


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a", "b", "a"], "two classes are called 'a'"),
        (["a", "", "b"], "a class must be named by text without control characters, not by ''"),
        (["a", "b", "c\n"], r"a class must be named by text without control characters, not by 'c\n'"),
    ],
)
def test_classes_must_have_names_of_their_own(archive, classes, message):
    with pytest.raises(DataError) as caught:
        npz(archive(classes=np.array(classes)))
    assert str(caught.value) == message


def test_npz_refuses_what_claims_to_be_larger_than_memory(archive):
    path = archive()
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**4, 10**4, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("x_train.npy", header.getvalue())
    with pytest.raises(DataError, match=r"data\.npz holds more than fits into memory: Unable to allocate"):
        npz(path)


def test_npz_refuses_a_file_in_the_archive_that_is_no_array(archive):
    path = archive(x_test=None)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("x_test", b"text")
    with pytest.raises(DataError, match=r"data\.npz: x_test is no array"):
        npz(path)


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


def only(folder, image, name="a.png", size=4, **options):
    """What the test image comes out as, (size, size, 3)."""
    for file in (folder / "test/red").iterdir():
        file.unlink()
    image.save(folder / "test/red" / name, **options)
    return imagefolder(folder, size).test_images[0].transpose(1, 2, 0)


def pixel(folder, image, name="a.png", **options):
    return only(folder, image, name, **options)[1, 1].tolist()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_imagefolder_takes_the_upper_half_of_16_bits(folder, name):
    grey = Image.fromarray(np.full((6, 6), 0x7FA0, np.uint16))
    assert pixel(folder, grey, name) == [0x7F] * 3


@pytest.mark.parametrize("mode", ["I", "F"])
def test_imagefolder_refuses_pixels_of_32_bits(folder, mode):
    with pytest.raises(DataError, match=r"a\.tif cannot be read as an image: its pixels have 32 bits, and what range"):
        pixel(folder, Image.new(mode, (6, 6), 1), "a.tif")


def test_imagefolder_lays_transparent_pixels_on_white(folder):
    assert pixel(folder, Image.new("RGBA", (6, 6), (200, 0, 0, 0))) == [255, 255, 255]
    assert pixel(folder, Image.new("RGBA", (6, 6), (255, 0, 0, 51))) == [255, 204, 204]
    assert pixel(folder, Image.new("LA", (6, 6), (0, 255))) == [0, 0, 0]
    palette = Image.new("P", (6, 6), 1)
    palette.putpalette([9, 9, 9, 10, 20, 30])
    assert pixel(folder, palette) == [10, 20, 30]
    assert pixel(folder, palette, transparency=1) == [255, 255, 255]
    assert pixel(folder, palette, transparency=b"\xff\x00") == [255, 255, 255]


def test_imagefolder_turns_cmyk_and_black_and_white_into_rgb(folder):
    assert pixel(folder, Image.new("CMYK", (6, 6), (0, 255, 255, 0)), "a.jpg", quality=100) == [255, 0, 0]
    assert pixel(folder, Image.new("1", (6, 6), 1)) == [255, 255, 255]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_imagefolder_turns_images_as_their_exif_data_says(folder, name):
    image = Image.new("RGB", (8, 8))
    image.paste((255, 255, 255), (0, 0, 8, 4))  # white above
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown after a quarter turn clockwise
    found = only(folder, image, name, size=8, exif=turned).astype(int)
    assert found[:, 5:].min() > 200
    assert found[:, :3].max() < 50


def test_imagefolder_takes_the_first_frame_and_says_so_once(folder, caplog):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    assert pixel(folder, frames[0], "a.gif", save_all=True, append_images=frames[1:]) == [250, 0, 0]
    said = [r.getMessage() for r in caplog.records if r.name == "framework"]
    assert said == [
        f"1 of the images have several frames, of which the first is taken, such as {folder / 'test/red/a.gif'}"
    ]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_imagefolder_refuses_a_decompression_bomb(folder):
    file = folder / "train/red/b.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(DataError) as caught:
        imagefolder(folder, 4)
    assert str(caught.value).startswith(f"{file} cannot be read as an image: Image size (10000000000 pixels) exceeds")


def test_imagefolder_reads_long_thin_images_without_making_them_larger(folder):
    assert pixel(folder, Image.new("L", (60_000, 1), 9), size=64) == [9, 9, 9]


def test_imagefolder_does_not_start_other_programs_for_a_file_that_is_something_else(folder):
    file = folder / "train/red/b.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(DataError, match="cannot identify image file"):
        imagefolder(folder, 4)


def test_imagefolder_refuses_more_than_fits_into_memory(folder):
    with pytest.raises(DataError, match=r"^3 images of 10000000×10000000 do not fit into memory: take .*, or a loader"):
        imagefolder(folder, 10**7)


def test_imagefolder_passes_over_what_is_hidden_folders_and_links_that_lead_in_circles(folder):
    before = imagefolder(folder, 4)
    picture(folder / "train/red/.thumbnails/a.png", 1)
    picture(folder / "train/.cache/a.png", 1)
    (folder / "train/red/._a.png").write_bytes(b"of a Mac")
    (folder / "train/red/folder.png").mkdir()
    (folder / "train/red/round").symlink_to(folder / "train")
    after = imagefolder(folder, 4)
    assert after.classes == before.classes
    assert np.array_equal(after.train_images, before.train_images)


def test_imagefolder_refuses_what_cannot_be_read_to_its_end(folder):
    os.mkfifo(folder / "train/red/c.png")
    with pytest.raises(DataError, match=r"c\.png is no file$"):
        imagefolder(folder, 4)
    (folder / "train/red/c.png").unlink()
    (folder / "train/red/c.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(DataError, match=r"c\.png cannot be read as an image: .*No such file"):
        imagefolder(folder, 4)


def test_imagefolder_refuses_a_folder_whose_name_is_no_text(folder):
    os.rename(os.fsencode(folder / "train/blue"), os.fsencode(folder / "train") + b"/bl\xff")
    with pytest.raises(DataError, match="a class must be named by text"):
        imagefolder(folder, 4)


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
