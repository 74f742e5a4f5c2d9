"""How many threads stages use, and where that is written down."""

from pathlib import Path
from typing import Any

import pytest
import torch
from running import client, framework_afresh, here, history, trials, write

FILES = {
    "count.py": """
        from dataclasses import dataclass
        import torch
        from framework import Stage

        @dataclass(frozen=True)
        class Count(Stage):
            times: int = 1

            def run(self, trial):
                trial.report({"threads": torch.get_num_threads()})
        """,
    "counted.yaml": """
        name: counted
        model: {name: mlp, widths: [4]}
        data: {name: digits, validation: 0.9}
        stages:
          - ./count.py:Count
          - ./count.py:Count: {times: {grid_search: [1, 2]}}
        """,
}


def told(root: Path, run: Any) -> tuple[list[float], str, str]:
    """The threads that the stages have counted, those of its tag, and those of the spec that repeats the trial."""
    counted = [value for _, value in history(root, run, "threads")]
    spec = Path(client(root).download_artifacts(run.info.run_id, "code/spec.yaml"))
    lines = spec.read_text().partition("threads:")[2].splitlines()
    listed = " ".join(line.strip("- ") for line in lines[1:] if line.strip().startswith("- "))
    return counted, run.data.tags["framework.threads"], listed


def test_what_two_trials_wait_for_has_both_cores_of_a_cluster_and_then_each_has_one(
    cluster: str, tmp_path: Path
) -> None:
    write(tmp_path, FILES)
    command = ("run", "counted.yaml", "--root", "r", "--address", cluster)
    done = framework_afresh(*command, folder=tmp_path, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [told(tmp_path / "r", run) for run in trials(tmp_path / "r", "counted").values()] == [
        ([2, 1], "2 1", "2 1"),
        ([2, 1], "2 1", "2 1"),
    ]


def test_in_this_process_each_trial_has_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, FILES)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(2)
    try:
        assert here("run", "counted.yaml", "--root", "r", "--executor", "inline", monkeypatch=monkeypatch) == 0
    finally:
        torch.set_num_threads(1)
    runs = trials(tmp_path / "r", "counted").values()
    assert [told(tmp_path / "r", run) for run in runs] == [([2, 2], "2 2", "2 2")] * 2
