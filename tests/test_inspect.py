"""`framework inspect` on real runs."""

import re
from pathlib import Path

import pytest
from running import Study, here, trials
from test_export import TRIAL, others  # noqa: F401 - a fixture

from framework._report import latency

NAME = TRIAL.partition("/")[2]


def inspected(
    trial: str, root: Path, *options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    assert here("inspect", trial, "--root", str(root), *options, monkeypatch=monkeypatch) == 0
    return capsys.readouterr().out


def test_every_finished_trial_has_the_numbers_of_its_network(study: Study) -> None:
    for experiment in ("study", "single"):
        for run in trials(study.root, experiment).values():
            metrics = {n.removeprefix("model/"): v for n, v in run.data.metrics.items() if n.startswith("model/")}
            assert metrics.keys() == {"parameters", "nonzero", "flops", "flops_effective", "dead_filters", "bytes"}
            assert run.data.metrics["no_gradient"] == 0
            assert 0 < metrics["nonzero"] < metrics["parameters"]
            assert 0 < metrics["flops_effective"] < metrics["flops"]


def test_it_finds_in_the_exported_network_what_the_run_has_of_the_network_itself(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trials(study.root, "study")[NAME]
    metrics = run.data.metrics
    said = inspected(TRIAL, study.root, "--no-latency", monkeypatch=monkeypatch, capsys=capsys)
    assert said.startswith(f"{TRIAL}  run {run.info.run_id}\n")
    assert f"{metrics['model/parameters']:,.0f}, of which {metrics['model/nonzero']:,.0f} (" in said
    assert f"({metrics['model/flops_effective'] / metrics['model/flops']:.2%})" in said
    assert f"\ndead filters  {metrics['model/dead_filters']:.0f}, " in said
    rows = {line.split()[0]: line.split() for line in said.splitlines() if "%" in line and line[0] != "F"}
    layers = [name.removeprefix("sparsity/") for name in metrics if name.startswith("sparsity/")]
    assert {*layers} <= rows.keys()
    for layer in layers:
        assert rows[layer][3] == f"{metrics[f'sparsity/{layer}']:.2%}"
    assert "\nno gradient   ever reaches 0.00% of the weights below\n" in said
    assert "ms" not in said


def test_a_run_is_found_by_the_beginning_of_its_id_and_measured(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latency, "_SECONDS", 0.05)
    run_id = trials(study.root, "study")[NAME].info.run_id
    said = inspected(run_id[:12], study.root, monkeypatch=monkeypatch, capsys=capsys)
    assert run_id in said
    assert "unstructured zeros do not speed up dense kernels" in said
    measured = re.findall(r"^ *(\d+) +(\d+) +[\d.]+ ms +[\d.]+ ms +[\d.]+ +\d+ *$", said, re.MULTILINE)
    assert {batch for batch, _ in measured} == {"1", "128"}
    assert "1" in {threads for _, threads in measured}


def test_of_a_network_that_could_not_be_exported_it_says_what_there_is(
    others: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = inspected("moody/seed=0", others, monkeypatch=monkeypatch, capsys=capsys)
    assert "logged model  9" in said  # bytes
    assert said.endswith("there are only its weights, so it cannot be run\n")
