"""`framework compare` on real runs."""

import json
from pathlib import Path

import pytest
from running import Study, here, trials

from framework._errors import DataError, SpecError, TrackingError
from framework._report.open_results import open_results


def compared(study: Study, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(study.folder)
    return here("compare", *arguments, "--root", "results", monkeypatch=monkeypatch)


def groups(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["groups"]
    return found


def test_variants_of_a_spec_are_compared_as_their_runs_have_it(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(study, "study.yaml", "--format", "json", monkeypatch=monkeypatch) == 0
    found = {group["label"]: group for group in groups(capsys)}
    assert {*found} == {"prune.amount=0.2", "prune.amount=0.5"}
    for label, group in found.items():
        values = [
            run.data.metrics["test/accuracy"]
            for name, run in trials(study.root, "study").items()
            if name.startswith(f"{label} ")
        ]
        assert (group["n"], group["mean"]) == (2, pytest.approx(sum(values) / 2))


def test_a_run_says_which_metric_counts_most(study: Study) -> None:
    runs = trials(study.root, "study").values()
    assert {run.data.tags["framework.higher_is_better"] for run in runs} == {'{"accuracy": true}'}


def test_the_table_says_what_two_seeds_are_worth(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(study, "study", "--baseline", "prune.amount=0.2", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "prune.amount=0.5" in out
    assert "baseline; 2 seeds: too few to decide" in out


def test_without_a_name_all_experiments_are_compared(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(study, "--format", "json", "--metric", "sparsity", monkeypatch=monkeypatch) == 0
    labels = {group["label"] for group in groups(capsys)}
    assert labels == {"study prune.amount=0.2", "study prune.amount=0.5", "single", "twin"}


def test_by_takes_lists_and_may_be_repeated(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--by", "experiment,prune.amount", "--by", "seed", "--format", "json"]
    assert compared(study, "study", "single", *options, monkeypatch=monkeypatch) == 0
    labels = {group["label"] for group in groups(capsys)}
    assert {"study prune.amount=0.2 seed=0", "single seed=3"} <= labels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stduy"], "error: there is neither a file nor an experiment 'stduy' (did you mean 'study'?)"),
        (["study", "--metric", "accuracy"], "error: no trial has reported 'accuracy' (did you mean 'val/accuracy'?)"),
        (
            ["study", "--by", "amount"],
            "error: no trial has a value 'amount' to group by (did you mean 'prune.amount'?)",
        ),
        (["nothing.yaml"], "nothing.yaml: there is no such file"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str],
    message: str,
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compared(study, *arguments, monkeypatch=monkeypatch) == (2 if "nothing" in message else 1)
    assert capsys.readouterr().err == f"{message}\n"


def test_of_a_spec_only_the_name_is_read_with_its_mistakes_in_their_place(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("name: study\nmodel: nonsense\nwhatever: 1\n")
    (tmp_path / "study.yaml").write_text("stages: []\n")
    (tmp_path / "new.yaml").write_text("name: new\n")
    (tmp_path / "wrong.yaml").write_text("model: convnet\nname: [a]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for file in ("mine.yaml", "study.yaml"):
        assert open_results([file, "study"], study.root, None).experiments == ["study"]
    with pytest.raises(DataError, match=r"new\.yaml has not been run yet: no experiment is called 'new'"):
        open_results(["new.yaml"], study.root, None)
    with pytest.raises(SpecError, match=r"^wrong\.yaml:2:7 name: must be a string"):
        open_results(["wrong.yaml"], study.root, None)
    with pytest.raises(TrackingError, match=r"there are no results in .*nowhere yet"):
        open_results(["new.yaml"], tmp_path / "nowhere", None)
