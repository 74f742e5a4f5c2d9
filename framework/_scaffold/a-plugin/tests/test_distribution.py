from framework.testing import check_distribution

from a_plugin.distribution import square_root


def test_it_keeps_to_what_a_distribution_promises() -> None:
    check_distribution(square_root)


def test_its_numbers_are_those_computed_by_hand() -> None:
    assert square_root({"small": 100, "large": 400}, 90) == {"small": 30, "large": 60}
    # What a layer does not have, the others give.
    assert square_root({"small": 100, "large": 400}, 450) == {"small": 100, "large": 350}
