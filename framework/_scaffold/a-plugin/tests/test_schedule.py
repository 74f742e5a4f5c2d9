import pytest
from framework.testing import check_schedule

from a_plugin.schedule import triangular


def test_it_keeps_to_what_a_schedule_promises() -> None:
    check_schedule(triangular, peak=0.5, final=0.1)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 0.2), (1, 0.6), (2, 1.0), (6, 0.75), (10, 0.5)])
def test_it_goes_up_and_down_as_computed_by_hand(epoch: float, factor: float) -> None:
    assert triangular(epoch, 10, peak=0.2, start=0.2, final=0.5) == pytest.approx(factor)
