import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framework._batches import ImageBatches


def numbered(count, shape=(1, 2, 2)):
    """Images whose first pixel is their number, which is their label too."""
    images = torch.zeros(count, *shape, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return images, torch.arange(count)


def batches(images, labels, mean=0.0, std=1.0, **options):
    channels = images.shape[1]
    return ImageBatches(images, labels, torch.full((channels,), mean), torch.full((channels,), std), **options)


def pixels(x):
    """From normalised values with mean 0 and standard deviation 1 back to bytes."""
    return (x * 255).round().to(torch.uint8)


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 40), size=st.integers(1, 45), shuffled=st.booleans())
def test_every_image_comes_once_per_pass_with_its_label_save_a_lone_last_one(count, size, shuffled):
    found = list(batches(*numbered(count), batch_size=size, seed=0 if shuffled else None).epoch(0))
    labels = torch.cat([y for _, y in found]).tolist()
    left_out = shuffled and count > size > 1 and count % size == 1
    assert len(labels) == len(set(labels)) == count - left_out
    assert torch.equal(torch.cat([pixels(x)[:, 0, 0, 0] for x, _ in found]).long(), torch.tensor(labels))
    assert [len(y) for _, y in found[:-1]] == [size] * (len(found) - 1)
    assert len(found) == len(batches(*numbered(count), batch_size=size, seed=0 if shuffled else None))


@pytest.mark.parametrize(("count", "length"), [(1, 1), (4, 1), (5, 1), (6, 2), (8, 2), (9, 2)])
def test_a_lone_last_image_is_left_out_when_shuffling_unless_it_is_the_only_one(count, length):
    images, labels = numbered(count)
    assert len(batches(images, labels, batch_size=4, seed=0)) == length
    assert len(batches(images, labels, batch_size=4)) == -(-count // 4)


def test_batches_of_one_image_are_all_given():
    assert len(list(batches(*numbered(3), batch_size=1, seed=0).epoch(0))) == 3


def test_without_a_seed_the_order_is_the_given_one_and_nothing_is_augmented():
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    found = batches(images, torch.arange(7), batch_size=3, augment=["crop", "flip", "cutout"])
    for number in range(2):
        assert torch.equal(torch.cat([pixels(x) for x, _ in found.epoch(number)]), images)


def test_the_seed_alone_decides_the_order_and_each_pass_has_its_own():
    def order(seed):
        found = batches(*numbered(20), batch_size=6, seed=seed)
        return [torch.cat([y for _, y in found.epoch(number)]).tolist() for number in range(2)]

    torch.manual_seed(1)
    first = order(0)
    torch.manual_seed(2)
    assert order(0) == first
    assert first[0] != first[1]
    assert order(1) != first


def test_a_pass_is_the_same_whenever_it_is_asked_for():
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    found = batches(images, torch.arange(20), batch_size=6, augment=["crop", "flip", "cutout"], seed=3)
    later = [list(found.epoch(number)) for number in (2, 0, 2)]
    for (x, y), (again_x, again_y) in zip(later[0], later[2], strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)


def test_the_order_does_not_depend_on_the_augmentation():
    images, labels = numbered(20)
    plain, augmented = (batches(images, labels, batch_size=6, augment=a, seed=3).epoch(1) for a in ([], ["flip"]))
    assert [y.tolist() for _, y in plain] == [y.tolist() for _, y in augmented]


def test_pixels_are_scaled_and_normalised_by_channel():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(2, 1).view(1, 2, 1, 3)
    found = ImageBatches(images, torch.tensor([0]), torch.tensor([0.2, 0.5]), torch.tensor([0.1, 0.25]), batch_size=1)
    x, _ = next(found.epoch(0))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[0], torch.tensor([[[-2.0, 0.0, 8.0]], [[-2.0, -1.2, 2.0]]]))


def test_images_stay_as_they_are():
    images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    before = images.clone()
    found = batches(images, torch.zeros(9).long(), batch_size=4, augment=["crop", "flip", "cutout"], seed=0)
    list(found.epoch(0))
    assert found.inputs is images
    assert torch.equal(images, before)


@pytest.mark.parametrize("seed", [None, 0])
def test_channels_last(seed):
    images = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    for x, _ in batches(images, torch.zeros(5).long(), batch_size=4, seed=seed, channels_last=True).epoch(0):
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert not x.is_contiguous()


def test_flip_mirrors_left_to_right_about_half_of_the_images():
    images = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3).repeat(400, 1, 1, 1)
    found = batches(images, torch.zeros(400).long(), batch_size=400, augment=["flip"], seed=0)
    x = pixels(next(found.epoch(0))[0])[:, 0].tolist()
    flipped = x.count([[2, 1, 0], [5, 4, 3]])
    assert flipped + x.count([[0, 1, 2], [3, 4, 5]]) == 400
    assert 150 < flipped < 250


def test_crop_shifts_each_image_by_up_to_an_eighth_and_zeros_move_in():
    image = torch.arange(1, 257).clamp(max=255).to(torch.uint8).view(1, 16, 16)
    found = batches(image.repeat(300, 1, 1, 1), torch.zeros(300).long(), batch_size=300, augment=["crop"], seed=0)
    padded = torch.zeros(20, 20, dtype=torch.uint8)
    padded[2:18, 2:18] = image[0]
    allowed = {(i, j): padded[i : i + 16, j : j + 16] for i in range(5) for j in range(5)}
    seen = set()
    for x in pixels(next(found.epoch(0))[0])[:, 0]:
        matching = [shift for shift, window in allowed.items() if torch.equal(window, x)]
        assert len(matching) == 1
        seen.update(matching)
    assert seen == set(allowed)


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (3, 24)])
def test_crop_shifts_each_axis_by_up_to_an_eighth_of_its_own_length(shape):
    height, width = shape
    images, labels = torch.full((400, 1, height, width), 255, dtype=torch.uint8), torch.zeros(400).long()
    x, _ = next(iter(batches(images, labels, batch_size=400, augment=["crop"], seed=0).epoch(0)))
    rows, columns = ((x[:, 0] > 0).sum(axis).amax(1) for axis in (1, 2))
    assert (height - rows).unique().tolist() == list(range(max(1, height // 8) + 1))
    assert (width - columns).unique().tolist() == list(range(max(1, width // 8) + 1))


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (4, 4), (7, 9)])
def test_cutout_is_a_square_of_half_the_shorter_side_unless_an_edge_cuts_it(shape):
    images, labels = torch.full((400, 1, *shape), 255, dtype=torch.uint8), torch.zeros(400).long()
    x, _ = next(iter(batches(images, labels, mean=0.2, batch_size=400, augment=["cutout"], seed=0).epoch(0)))
    cut = x[:, 0].abs() < 1e-6
    inside = ~(cut[:, [0, -1]].any((1, 2)) | cut[:, :, [0, -1]].any((1, 2)))
    rows, columns = cut[inside].any(2).sum(1), cut[inside].any(1).sum(1)
    assert inside.sum() > 10
    assert {*rows.tolist(), *columns.tolist()} == {min(shape) // 2}


def test_crop_shifts_all_channels_alike():
    images = torch.randint(1, 256, (8, 1, 8, 8), dtype=torch.uint8).repeat(1, 3, 1, 1)
    for x, _ in batches(images, torch.zeros(8).long(), batch_size=8, augment=["crop"], seed=0).epoch(0):
        assert torch.equal(x[:, 0], x[:, 1])
        assert torch.equal(x[:, 0], x[:, 2])


def test_cutout_sets_one_square_of_at_most_half_the_size_to_the_mean():
    images = torch.full((200, 2, 8, 8), 255, dtype=torch.uint8)
    mean = torch.tensor([0.2, 0.4])
    found = ImageBatches(
        images, torch.zeros(200).long(), mean, torch.ones(2), batch_size=200, augment=["cutout"], seed=0
    )
    x, _ = next(found.epoch(0))
    cut = x.abs() < 1e-6  # exactly the mean: 0.2 and 0.4 of 255 are whole numbers
    assert torch.equal(cut[:, 0], cut[:, 1])
    rows, columns = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert torch.equal(cut[:, 0].sum((1, 2)), rows * columns)  # a rectangle
    assert rows.max() == columns.max() == 4
    assert rows.min() >= 2  # its centre is inside the image
    torch.testing.assert_close(x[:, 0][~cut[:, 0]], torch.tensor(0.8).expand(int((~cut[:, 0]).sum())))
    # As often at either edge: nothing pulls it to one side.
    assert 0.7 < cut[:, 0, 0].sum() / cut[:, 0, -1].sum() < 1.4


def test_what_happens_to_an_image_does_not_depend_on_its_batch():
    images = torch.randint(1, 256, (30, 1, 16, 16), dtype=torch.uint8)

    def by_label(size):
        found = batches(images, torch.arange(30), batch_size=size, augment=["crop", "flip", "cutout"], seed=0)
        return {label: x for xs, ys in found.epoch(1) for x, label in zip(xs, ys.tolist(), strict=True)}

    small, large = by_label(4), by_label(30)
    assert all(torch.equal(small[label], large[label]) for label in range(30))


def test_an_augmentation_changes_nothing_of_what_others_draw():
    images = torch.randint(1, 256, (30, 1, 8, 8), dtype=torch.uint8)

    def passes(*augment):
        found = batches(images, torch.arange(30), batch_size=7, augment=augment, seed=0)
        return [x for number in range(2) for x, _ in found.epoch(number)]

    for one, both in zip(passes("flip"), passes("flip", "cutout"), strict=True):
        assert torch.equal(one[both != 0], both[both != 0])
