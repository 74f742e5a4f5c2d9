"""What machines have, and what each trial takes of it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from framework._errors import FrameworkError
from framework._spec import AUTO, ExperimentSpec

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Machines:
    """Machines that trials can run on: those that are there, and those that a cluster starts when they are asked for.

    Attributes:
        nodes: what each of them has: ``CPU`` and ``GPU``.
        unknown: whether the cluster may start others, of which nobody can tell what they have.
        most_threads: that a trial may use; None: as many as there are cores.
    """

    nodes: Sequence[Mapping[str, float]]
    unknown: bool = False
    most_threads: int | None = None

    def take(self, spec: ExperimentSpec, at_once: int) -> dict[str, float]:
        """What each trial of a spec takes: ``cpu`` and ``gpu``, of all its ``processes`` together, and their number.

        Args:
            spec: the spec.
            at_once: how many trials can run at the same time, if there are machines for them.

        Raises:
            FrameworkError: no machine has that much.
        """
        cpu, gpu, processes = (spec.resources[name] for name in ("cpu", "gpu", "processes"))
        least = processes if cpu == AUTO else cpu
        if gpu == AUTO:
            gpu = processes if self.slots(least, processes, processes) else 0
        if not self.unknown:
            self._check(spec.name, least, gpu, processes)
        taken = processes * self._share(gpu / processes, at_once * processes) if cpu == AUTO else cpu
        return {"cpu": taken, "gpu": gpu, "processes": processes}

    def slots(self, cpu: float, gpu: float, processes: float = 1) -> int:
        """How many trials that take so much fit on all machines at once; a trial's processes may be on several."""
        return int(sum(_fitting(node, cpu / processes, gpu / processes) for node in self.nodes) // processes)

    def cores(self, cpu: float, gpu: float, processes: float = 1) -> int:
        """How many threads each of a trial's processes can use on whichever machine it runs, if nothing else does."""
        cpu, gpu = cpu / processes, gpu / processes
        cores = min((int(node.get("CPU", 0)) for node in self.nodes if _fitting(node, cpu, gpu)), default=1)
        return max(1, int(min(cores, self.most_threads or cores) // processes))

    def _share(self, gpu: float, at_once: int) -> int:
        """The most CPUs with which as many processes run at the same time as with a single one each."""
        trials = min(at_once, self.slots(1, gpu))
        most = max((int(node.get("CPU", 0)) for node in self.nodes if _fitting(node, 1, gpu)), default=1)
        most = min(most, self.most_threads or most)
        return next((cpu for cpu in range(most, 1, -1) if self.slots(cpu, gpu) >= trials), 1)

    def _check(self, name: str, cpu: float, gpu: float, processes: int) -> None:
        if self.slots(cpu, gpu, processes):
            return
        if processes > 1:
            raise FrameworkError(
                f"{name}: resources asks for {processes} processes of {cpu / processes:g} CPUs and "
                f"{gpu / processes:g} GPUs each, but the machines here have room for "
                f"{self.slots(cpu / processes, gpu / processes)}: lower it with --set resources.processes=… "
                "or --set resources.gpu=…"
            )
        for what, amount in (("cpu", cpu), ("gpu", gpu)):
            most = max((node.get(what.upper(), 0) for node in self.nodes), default=0)
            if amount > most:
                raise FrameworkError(
                    f"{name}: resources.{what} asks for {amount:g}, but no machine here has more than {most:g}: "
                    f"lower it with --set resources.{what}=…"
                )
        raise FrameworkError(
            f"{name}: resources asks for {cpu:g} CPUs and {gpu:g} GPUs, but no machine here has both: "
            "lower one with --set resources.cpu=… or --set resources.gpu=…"
        )


def this_machine() -> Machines:
    """This machine as Ray would find it, but for limits of a container; what it lacks may be elsewhere."""
    has = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
    return Machines([has], unknown=True, most_threads=torch.get_num_threads())


def _fitting(node: Mapping[str, float], cpu: float, gpu: float) -> int:
    by_cpu = int(node.get("CPU", 0) / cpu + _ROUNDING)
    # Each trial is on one GPU: of three GPUs, 0.6 of each can be used, but not 0.6 of what is left of all.
    return min(by_cpu, int(1 / gpu + _ROUNDING) * int(node.get("GPU", 0))) if gpu else by_cpu
