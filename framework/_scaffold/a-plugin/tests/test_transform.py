import torch
from framework.testing import check_transform

from a_plugin.transform import Darken


def test_it_keeps_to_what_a_transform_promises() -> None:
    check_transform(Darken, least=0.25)


def test_no_pixel_becomes_brighter_or_too_dark() -> None:
    image = torch.full((3, 8, 8), 200, dtype=torch.uint8)
    for _ in range(20):
        darker = Darken(least=0.5)(image)
        assert 100 <= int(darker.min()) == int(darker.max()) <= 200
