"""Every spec in experiments/ runs, on digits and in one short epoch, by --set alone."""

import re
from pathlib import Path

import pytest
from running import framework, here, trials

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
TRIALS = {
    "baseline": 1,
    "freeze": 3,
    "output_variants": 4,
    "prune_finetuned": 3,
    "prune_pretrained": 3,
    "quickstart": 3,
    "unprune": 3,
}


def test_all_of_them_are_known_here() -> None:
    assert {path.stem for path in EXPERIMENTS.glob("*.yaml")} == TRIALS.keys()


def test_each_is_valid_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(map(str, EXPERIMENTS.glob("*.yaml")))
    assert here("validate", *files, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out.splitlines()
    seeds = {name: 2 if name == "quickstart" else 3 for name in TRIALS}
    assert [re.findall(r"(\w+) is valid: (\d+) trial", line) for line in told] == [
        [(name, str(count * seeds[name]))] for name, count in sorted(TRIALS.items())
    ]


def test_each_runs_on_digits_by_settings_alone(cluster: str, tmp_path: Path) -> None:
    files = sorted(map(str, EXPERIMENTS.glob("*.yaml")))
    # Few images are left to train on: one epoch is three batches.
    settings = ["data.name=digits", "data.validation=0.8", "stages.*.train.epochs=1", "model.weights=null"]
    options = [word for setting in settings for word in ("--set", setting)]
    options += ["--seeds", "0", "--root", "results", "--address", cluster]
    done = framework("run", *files, *options, folder=tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0
    for name, count in TRIALS.items():
        runs = trials(tmp_path / "results", name)
        assert len(runs) == count
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        assert all("test/accuracy" in run.data.metrics for run in runs.values())
    for name in ("prune_finetuned", "prune_pretrained"):
        for trial, run in trials(tmp_path / "results", name).items():
            [amount] = re.findall(r"prune\.amount=(0\.\d)", trial)
            assert run.data.metrics["sparsity"] == pytest.approx(float(amount), abs=1e-6)
    for run in trials(tmp_path / "results", "freeze").values():
        assert run.data.metrics["frozen"] > 0
