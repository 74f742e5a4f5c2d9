"""Commands that are killed: who belongs to them, and what each kill has cost."""

import os
import random
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SCRIPT = str(Path(sysconfig.get_path("scripts"), "framework"))


@dataclass
class Kill:
    """One kill."""

    root: int
    what: str
    seconds: float  # into the command
    at: float  # since 1970
    during: str
    alive: list[psutil.Process]  # workers that have to find out by themselves
    outlived: float = 0.0  # seconds until they did
    repeated: int = 0  # epochs executed again before the next kill

    def watch(self) -> None:
        """See how long the workers live on."""
        began = time.monotonic()
        while any(is_alive(process) for process in self.alive):
            self.outlived = time.monotonic() - began
            time.sleep(0.1)


@dataclass
class Root:
    """A folder in which the study is run, and killed."""

    folder: Path
    index: int
    environment: Mapping[str, str]
    commands: list[psutil.Popen] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    began: float = 0.0

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self) -> psutil.Popen:
        """Give the command."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"output-{len(self.commands)}.txt"
        environment = {**self.environment, "COUNTED_EPOCHS": str(self.folder / "epochs.txt")}
        command = [SCRIPT, "run", str(self.folder.parent / "faults.yaml"), "--root", str(self.results)]
        self.began = time.monotonic()
        with log.open("w") as output:
            self.commands.append(
                psutil.Popen(
                    command,
                    cwd=self.folder,
                    env=environment,
                    stdout=output,
                    stderr=output,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        return self.commands[-1]

    def kill(self, what: str, chance: random.Random) -> bool:
        """Kill now; False if there is nothing left to kill, or no worker yet."""
        command = self.commands[-1]
        workers = [process for process in in_session(command.pid) if is_worker(process)]
        if command.poll() is not None or (what == "worker" and not workers):
            return False
        doomed = {"driver": [], "worker": [chance.choice(workers)] if workers else [], "both": workers}[what]
        doomed += [command] if what != "worker" else []
        what = "driver" if doomed == [command] else what
        during = self._during(workers)
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        left = [] if what == "worker" else [process for process in workers if process not in doomed]
        self.kills.append(Kill(self.index, what, time.monotonic() - self.began, time.time(), during, left))
        threading.Thread(target=self.kills[-1].watch, daemon=True).start()
        if what != "worker":
            command.wait()
        return True

    def _during(self, workers: list[psutil.Process]) -> str:
        output = (self.folder / f"output-{len(self.commands) - 1}.txt").read_text()
        if "to run" not in output:
            return "start"
        ended = output.count(": test accuracy ")
        return f"{ended} ended, {len(workers)} {'worker' if len(workers) == 1 else 'workers'}"

    def clear(self) -> int:
        """Kill what is left of all commands' sessions; how many processes that were."""
        left = [process for command in self.commands for process in in_session(command.pid)]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return len(left)

    def executed(self) -> list[tuple[str, float]]:
        """All epochs that were executed, in order: which, and when."""
        file = self.folder / "epochs.txt"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return sorted(((f"{seed} {epoch}", float(at)) for seed, epoch, _, at in lines), key=lambda line: line[1])

    def count(self) -> tuple[int, int]:
        """Say of each kill how many epochs it made run again; all epochs executed, and the distinct ones."""
        seen: set[str] = set()
        for epoch, at in self.executed():
            if epoch in seen:
                before = [kill for kill in self.kills if kill.at <= at]
                if before:
                    before[-1].repeated += 1
            seen.add(epoch)
        return len(self.executed()), len(seen)


def in_session(leader: int) -> list[psutil.Process]:
    """The processes of a command's session: Ray's daemons and workers stay in it when the command has died."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if pid != leader and os.getsid(pid) == leader:
                process = psutil.Process(pid)
                if is_alive(process):
                    found.append(process)
    return found


def is_worker(process: psutil.Process) -> bool:
    """Whether it has been made to run trials (Ray calls a function of Tune's so)."""
    with suppress(psutil.Error):
        return "".join(process.cmdline()).startswith("ray::ImplicitFunc")
    return False


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
