"""Every spec in experiments/ runs, on digits and in one short epoch, by --set alone; its folders' are cut short."""

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
    "sensitivity": 28,
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


@pytest.mark.long  # minutes: each spec is checked in other tests
def test_each_runs_on_digits_by_settings_alone(cluster: str, tmp_path: Path) -> None:
    files = sorted(str(path) for path in EXPERIMENTS.glob("*.yaml") if path.stem != "sensitivity")  # many trials
    # Few images are left to train on: one epoch is three batches.
    settings = ["data.name=digits", "data.validation=0.8", "stages.*.train.epochs=1", "model.weights=null"]
    options = [word for setting in settings for word in ("--set", setting)]
    options += ["--seeds", "0", "--root", "results", "--address", cluster]
    done = framework("run", *files, *options, folder=tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0
    for name, count in TRIALS.items() - {("sensitivity", 28)}:
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


def test_the_sensitivity_of_each_layer_is_measured_on_one_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("plan", str(EXPERIMENTS / "sensitivity.yaml"), "--seeds", "0", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "stages: 56 naive → 29 shared" in told  # the training, and of each of four layers seven amounts
    assert "epochs: 280 naive → 10 shared" in told


def test_the_comparison_computes_once_what_its_methods_share(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(map(str, EXPERIMENTS.glob("comparison/*.yaml")))
    assert here("plan", *files, "--seeds", "0", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    trials, amounts = re.findall(r"^(\w+): (\d+) trials?, ", told, re.MULTILINE), 6
    assert dict(trials) == {Path(file).stem: "1" if file.endswith("dense.yaml") else str(amounts) for file in files}
    # Before training: SNIP, GraSP, SynFlow, and random masks for three kinds of training. One training of ten epochs is
    # shared by all that prune halfway, and that of the first epoch by all rounds.
    before, halfway = 4 * amounts, 5 * amounts
    stages = 1 + 2 * 3 * amounts + amounts + 3 * amounts + (1 + 2 * halfway) + amounts + 2 + 3 * amounts
    assert before < stages
    assert f" {stages} shared" in told


@pytest.mark.long
def test_what_reproduces_papers_runs_when_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = EXPERIMENTS / "reproductions"
    short = {
        "lottery_ticket": ["stages.1.repeat.times=1", "stages.2.train.evaluate_every=5"],
        "lottery_ticket_reinit": ["stages.1.repeat.times=1", "stages.3.train.evaluate_every=5"],
        "layer_collapse": ["stages.1.prune={criterion: synflow, rounds: 3, amount: 0.999}", "model=convnet"],
    }
    assert {path.stem for path in folder.glob("*.yaml")} == short.keys()
    for name, settings in short.items():
        settings = ["data.name=digits", "defaults.train.steps=12"] if name != "layer_collapse" else ["data.name=digits"]
        options = [word for setting in settings + short[name] for word in ("--set", setting)]
        file = str(folder / f"{name}.yaml")
        options += ["--seeds", "0", "--root", str(tmp_path), "--executor", "inline"]
        assert here("run", file, *options, monkeypatch=monkeypatch) == 0
        [run] = trials(tmp_path, name).values()
        assert run.data.metrics["sparsity"] == pytest.approx(0.999 if name == "layer_collapse" else 0.2, abs=0.002)
        assert name == "layer_collapse" or run.data.metrics["best/step"] in (5, 10)
