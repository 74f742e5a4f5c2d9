"""What trials take of machines."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from framework._errors import FrameworkError
from framework._executors.machines import Machines


def take(
    nodes: Sequence[Mapping[str, float]],
    at_once: int = 1,
    cpu: Any = "auto",
    gpu: Any = "auto",
    processes: int = 1,
    **more: Any,
) -> tuple[float, float]:
    spec: Any = SimpleNamespace(name="study", resources={"cpu": cpu, "gpu": gpu, "processes": processes})
    taken = Machines(nodes, **more).take(spec, at_once)
    return taken["cpu"], taken["gpu"]


@pytest.mark.parametrize(
    ("cpus", "at_once", "expected"),
    [
        ([16], 1, 16),
        ([16], 3, 5),
        ([16], 100, 1),
        ([16, 4], 2, 8),  # ten each would leave one of them waiting for the other
        ([16, 16], 1, 16),  # a trial is on one machine
        ([16, 16], 3, 8),
        ([4, 4, 4], 3, 4),
        ([1.5], 1, 1),
        ([0, 8], 2, 4),  # a head node that runs nothing
    ],
)
def test_auto_is_the_most_with_which_all_run_at_once(cpus: list[float], at_once: int, expected: int) -> None:
    assert take([{"CPU": cpu} for cpu in cpus], at_once) == (expected, 0)


def test_trials_that_wait_for_a_gpu_leave_their_cores_to_those_that_have_one() -> None:
    assert take([{"CPU": 16, "GPU": 1}], 8) == (16, 1)
    assert take([{"CPU": 16, "GPU": 4}], 8) == (4, 1)
    assert take([{"CPU": 16, "GPU": 1}], 8, gpu=0.25) == (4, 0.25)
    assert take([{"CPU": 64}, {"CPU": 8, "GPU": 2}], 8) == (4, 1)
    assert take([{"CPU": 64}, {"CPU": 8, "GPU": 2}], 8, gpu=0) == (8, 0)


def test_gpu_auto_is_one_where_a_machine_with_enough_cpus_has_it() -> None:
    assert take([{"CPU": 4, "GPU": 1}], cpu=2) == (2, 1)
    assert take([{"CPU": 4, "GPU": 1}, {"CPU": 64}], cpu=8) == (8, 0)
    assert take([{"CPU": 4}]) == (4, 0)


def test_no_trial_has_more_threads_than_are_allowed() -> None:
    assert take([{"CPU": 16}], most_threads=2) == (2, 0)
    assert Machines([{"CPU": 16}], most_threads=2).cores(1, 0) == 2


def test_threads_are_those_of_the_smallest_machine_that_can_have_the_trial() -> None:
    nodes = [{"CPU": 16.0}, {"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}]
    assert Machines(nodes).cores(1, 0) == 4
    assert Machines(nodes).cores(5, 0) == 8
    assert Machines(nodes).cores(1, 1) == 8


def test_parts_of_gpus_are_parts_of_one() -> None:
    assert Machines([{"CPU": 64, "GPU": 3}]).slots(1, 0.6) == 3
    assert Machines([{"CPU": 64, "GPU": 3}]).slots(1, 1 / 3) == 9
    assert Machines([{"CPU": 2, "GPU": 3}, {"CPU": 8}]).slots(1, 0.25) == 2
    assert Machines([{"CPU": 3}, {"CPU": 2}]).slots(0.3, 0) == 10 + 6


@pytest.mark.parametrize(
    ("nodes", "cpu", "gpu", "message"),
    [
        ([{"CPU": 8}, {"CPU": 8}], 10, 0, "resources.cpu asks for 10, but no machine here has more than 8"),
        ([{"CPU": 8}], 1, 0.5, "resources.gpu asks for 0.5, but no machine here has more than 0"),
        ([{"CPU": 0.5}], "auto", 0, "resources.cpu asks for 1, but no machine here has more than 0.5"),
        (
            [{"CPU": 8}, {"CPU": 2, "GPU": 1}],
            4,
            1,
            "resources asks for 4 CPUs and 1 GPUs, but no machine here has both",
        ),
        ([], "auto", "auto", "resources.cpu asks for 1, but no machine here has more than 0"),
    ],
)
def test_what_no_machine_can_give_is_refused(nodes: Any, cpu: Any, gpu: Any, message: str) -> None:
    with pytest.raises(FrameworkError) as raised:
        take(nodes, cpu=cpu, gpu=gpu)
    assert str(raised.value).startswith(f"study: {message}: lower ")
    assert take(nodes, cpu=cpu, gpu=gpu, unknown=True)  # which may still come


def test_processes_of_a_trial_have_equal_parts_and_may_be_on_several_machines() -> None:
    assert take([{"CPU": 8}], processes=4) == (8, 0)
    assert take([{"CPU": 8}], at_once=2, processes=2) == (4, 0)
    assert take([{"CPU": 8}], at_once=100, processes=3) == (3, 0)
    assert take([{"CPU": 4, "GPU": 2}, {"CPU": 4, "GPU": 2}], processes=4) == (8, 4)
    assert take([{"CPU": 4, "GPU": 2}], processes=4) == (4, 0)  # as there are not as many GPUs
    assert take([{"CPU": 4, "GPU": 2}], cpu=2, gpu=2, processes=2) == (2, 2)
    nodes = Machines([{"CPU": 5.0}, {"CPU": 3.0}])
    assert [nodes.slots(cpu, 0, processes) for cpu, processes in ((4, 4), (4, 2), (8, 8), (9, 9))] == [2, 1, 1, 0]
    assert [nodes.cores(2, 0, processes) for processes in (1, 2, 4)] == [3, 1, 1]


def test_more_processes_than_the_machines_have_room_for_are_refused() -> None:
    with pytest.raises(
        FrameworkError,
        match=r"study: resources asks for 4 processes of 1 CPUs and 1 GPUs each, but the "
        r"machines here have room for 2: lower it with --set resources.processes=… or --set resources.gpu=…",
    ):
        take([{"CPU": 8, "GPU": 2}], gpu=4, processes=4)
