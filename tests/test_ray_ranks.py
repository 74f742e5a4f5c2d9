"""Trials of two processes on Ray: both are placed, one is killed, one fails."""

from pathlib import Path

import pytest
from running import framework, trials, write

FILES = {
    "lose.py": """
        import os
        import signal
        from dataclasses import dataclass
        from pathlib import Path

        import torch
        import torch.distributed as dist
        from framework import Stage, hookimpl

        @dataclass(frozen=True)
        class Lose(Stage):
            how: str
            once: str

            def run(self, trial):
                numbers = torch.tensor([float(os.getpid())])
                dist.all_reduce(numbers)
                assert numbers.item() != 2 * os.getpid()
                if dist.get_rank() == 1 and not Path(self.once).exists():
                    Path(self.once).touch()
                    if self.how == "kill":
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise ValueError("the second process has had enough")
                dist.all_reduce(numbers)

        @hookimpl
        def register_stages():
            return {"lose": Lose}
        """,
    "kill.yaml": """
        name: kill
        plugins: [./lose.py]
        model: convnet
        data: {name: digits, validation: 0.5}
        defaults: {train: {epochs: 1, batch_size: 64}}
        stages:
          - train
          - lose: {how: kill, once: killed}
          - train
        resources: {cpu: 2, processes: 2}
        """,
    "fail.yaml": """
        extends: kill.yaml
        name: fail
        stages:
          - lose: {how: fail, once: failed}
        resources: {retries: 0}
        """,
}


def test_a_process_that_dies_or_fails_ends_the_attempt_as_a_worker_would(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FILES)
    # The cluster has two CPUs: the second attempt has both only if no process of the first one has stayed.
    done = framework("run", "kill.yaml", "fail.yaml", "--root", "results", "--address", cluster, folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    reason = "ValueError: the second process has had enough (at ./lose.py:23; in stage 1, lose (./lose.py:10))"
    lines = done.stdout.splitlines()
    assert [line.partition("] ")[2] for line in lines if "had enough" in line] == [f"fail seed=0: FAILED: {reason}", ""]
    assert f"failed: fail seed=0: {reason}" in lines
    [retried] = [line for line in lines if "tried again" in line]
    assert retried.startswith("kill seed=0: tried again, as it failed: its worker process died: it was killed")
    assert done.stderr == ""
    [killed] = trials(tmp_path / "results", "kill").values()
    [failed] = trials(tmp_path / "results", "fail").values()
    assert (killed.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert killed.data.metrics["test/accuracy"] > 0.2
