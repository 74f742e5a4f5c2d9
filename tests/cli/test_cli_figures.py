"""`framework figures` on real runs."""

from pathlib import Path

import pytest
from running import Study, client, here, trials


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file()}


def test_the_figures_of_an_experiment_and_of_its_trials_are_written_and_named(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.folder)
    options = ("--root", "results", "-o", str(tmp_path / "out"), "--trials", "--format", "svg")
    assert here("figures", "study.yaml", *options, monkeypatch=monkeypatch) == 0
    sweep = {"accuracy-against-sparsity.svg", "accuracy-over-epochs.svg", "density-by-layer.svg"}
    trials = {
        f"trials/prune.amount={amount}_seed={seed}/{name}.svg"
        for amount in (0.2, 0.5)
        for seed in (0, 1)
        for name in ("curves", "layers", "weights", "confusion")
    }
    assert written(tmp_path / "out") == sweep | trials
    told = capsys.readouterr().out.splitlines()
    assert {Path(line).relative_to(tmp_path / "out") for line in told} == {Path(name) for name in sweep | trials}
    against, over_epochs, _ = ((tmp_path / "out" / name).read_text() for name in sorted(sweep))
    assert "study:  test accuracy against sparsity</text>" in against
    assert "study:  val accuracy and sparsity over the epochs</text>" in over_epochs
    for stage in ("train", "prune", "unprune"):
        assert f">{stage}</text>" in over_epochs


def test_experiments_that_are_named_are_drawn_each_and_together(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.folder)
    options = ("--root", "results", "-o", str(tmp_path / "out"), "--format", "png")
    assert here("figures", "study", "single", *options, monkeypatch=monkeypatch) == 0
    assert written(tmp_path / "out") == {
        "accuracy-against-sparsity.png",
        "accuracy-by-variant.png",
        "accuracy-over-epochs.png",
        "density-by-layer.png",
        "study/accuracy-against-sparsity.png",
        "study/accuracy-over-epochs.png",
        "study/density-by-layer.png",
        "single/accuracy-over-epochs.png",
    }


def test_without_a_name_all_experiments_are_drawn_each(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert here("figures", "--root", str(study.root), "--format", "png", monkeypatch=monkeypatch) == 0
    assert {name.partition("/")[0] for name in written(tmp_path / "figures")} == {"study", "single", "twin"}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("studdy",), 1, "error: there is neither a file nor an experiment 'studdy' (did you mean 'study'?)\n"),
        (("study", "--format", "png,pdf"), 2, "'pdf' is none of png, svg"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    arguments: tuple[str, ...],
    code: int,
    told: str,
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert here("figures", *arguments, "--root", str(study.root), monkeypatch=monkeypatch) == code
    assert told in capsys.readouterr().err
    assert written(tmp_path) == set()


def test_a_trial_that_fails_keeps_its_curves_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = "{name: fails, model: convnet, data: digits, stages: [train: {epochs: 1}, unprune: {}]}"
    Path("fails.yaml").write_text(spec)
    assert here("run", "fails.yaml", "--root", "r", "--executor", "inline", monkeypatch=monkeypatch) == 1
    [run] = trials(Path("r"), "fails").values()
    assert run.info.status == "FAILED"
    kept = {file.path for file in client(Path("r")).list_artifacts(run.info.run_id, "figures")}
    assert kept == {f"figures/{name}.{form}" for name in ("curves", "weights") for form in ("png", "svg")}
    assert here("figures", "fails", "--root", "r", "--trials", monkeypatch=monkeypatch) == 0
    assert written(Path("figures")) == {f"trials/seed=0/{Path(name).name}" for name in kept}
