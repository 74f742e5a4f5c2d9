"""Experiments from Python: really run, one trial after another in this process, and read back."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch
from matplotlib.figure import Figure
from running import all_runs, client, environment, parents, write

import framework
from framework import DataError, FrameworkError, Results, SpecError, TrackingError
from framework._tracking import MASKS, encode_masks

SPECS = {
    "prune.yaml": """
        name: prune
        model: convnet
        data: {name: digits, validation: 0.9}
        seeds: [0, 1]
        stages:
          - train: {epochs: 1, batch_size: 64}
          - prune: {amount: {grid_search: [0.2, 0.5]}}
        """,
    "dense.yaml": """
        extends: prune.yaml
        name: dense
        stages:
          - train: {epochs: 1, batch_size: 64}
        """,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the specs, and in ``results`` the trials of both."""
    made = tmp_path_factory.mktemp("api")
    write(made, SPECS)
    return made


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "FRAMEWORK_ROOT", "FRAMEWORK_STORE", "FRAMEWORK_DISABLE_PLUGINS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def both(folder: Path) -> Results:
    before = dict(os.environ)
    specs = [folder / name for name in SPECS]
    found = framework.run(specs, root=folder / "results", executor="inline", quiet=True)
    assert before.get("MLFLOW_TRACKING_URI") == os.environ.get("MLFLOW_TRACKING_URI")
    return found


def test_results_are_those_of_all_trials_of_the_specs(both: Results) -> None:
    frame = both.frame()
    assert list(frame["experiment"]) == ["prune"] * 4 + ["dense"] * 2
    assert set(frame["status"]) == {"FINISHED"}
    assert frame["test/accuracy"].between(0, 1).all()
    assert repr(both) == "<Results: 6 trials of prune, dense>"


def test_finished_trials_are_not_run_again_and_others_are_left_out(
    both: Results, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = framework.run(folder / "prune.yaml", seeds=[1], root=folder / "results", executor="inline")
    first = both.frame()
    wanted = first[(first["experiment"] == "prune") & (first["seed"] == 1)]
    assert list(again.frame()["run_id"]) == list(wanted["run_id"])
    assert capsys.readouterr().out == "0 trials to run, 2 finished earlier\n"


def test_settings_change_the_specs_and_the_run_keeps_the_command_that_does_the_same(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    settings = {"name": "other", "stages.*.train.epochs": 2, "stages.1.prune.layers": ["fc", "nothing here"]}
    found = framework.run("prune.yaml", settings=settings, seeds=[5], root=tmp_path / "other", executor="inline")
    assert found.experiments == ["other"]
    assert list(found.frame()["status"]) == ["FAILED", "FAILED"]  # which raises nothing
    out = capsys.readouterr().out
    assert "2 trials to run" in out
    assert "FAILED: no layer matches 'nothing here'" in out
    [parent] = parents(tmp_path / "other", "other")
    assert parent.data.tags["framework.command"] == (
        "framework run prune.yaml --set 'name=\"other\"' --set 'stages.*.train.epochs=2' "
        '--set \'stages.1.prune.layers=["fc", "nothing here"]\' --seeds 5 '
        f"--root {tmp_path / 'other'} --executor inline"
    )
    assert not (folder / "mlruns").exists()


def test_the_root_may_be_named_by_the_environment(both: Results, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWORK_ROOT", str(folder / "results"))
    assert len(framework.results("dense").trials) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    assert len(framework.results("dense", root="elsewhere").trials) == 2


def test_a_wrong_spec_or_setting_is_raised_with_every_mistake(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as error:
        framework.run(folder / "prune.yaml", settings={"data.name": "digit", "seeds": []}, root=tmp_path)
    assert "did you mean 'digits'?" in str(error.value)
    assert len(error.value.problems) == 2
    with pytest.raises(SpecError, match="there is no such file"):
        framework.run("nothing.yaml", root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_earlier_runs_are_found_by_name_and_by_spec(both: Results, folder: Path) -> None:
    root = folder / "results"
    assert (
        framework.results("prune", root=root)
        .frame()
        .equals(framework.results(folder / "prune.yaml", root=root).frame())
    )
    assert framework.results(root=root).experiments == ["prune", "dense"]
    with pytest.raises(DataError, match=r"an experiment 'prne' \(did you mean 'prune'\?\)"):
        framework.results("prne", root=root)
    with pytest.raises(TrackingError, match="there are no results in"):
        framework.results(root=folder / "nowhere")


def test_a_comparison_is_a_frame_with_a_row_per_variant(both: Results) -> None:
    frame = both.compare(baseline="dense")
    assert list(frame["label"]) == ["prune prune.amount=0.2", "prune prune.amount=0.5", "dense"]
    assert list(frame["pairs"]) == [2, 2, 0]
    trials = both.frame()
    dense = trials[trials["experiment"] == "dense"].set_index("seed")["test/accuracy"]
    half = trials[trials["prune.amount"] == 0.5].set_index("seed")["test/accuracy"]
    assert frame["difference"][1] == pytest.approx((half - dense).mean())
    assert frame["difference"].dtype == frame["std"].dtype == float
    assert pandas.isna(frame["difference"][2])


def test_a_notebook_shows_what_came_out(both: Results) -> None:
    page = both._repr_html_()
    assert "Results: 6 trials of prune, dense" in page
    assert "<td>prune prune.amount=0.5</td>" in page


def test_figures_are_drawn_of_the_results(both: Results) -> None:
    for figure in (both.plot_against(), both.plot_variants(), both.plot_history("sparsity", "val/accuracy")):
        assert isinstance(figure, Figure)
    assert len(both.plot_history("sparsity", "val/accuracy").axes) == 2
    with pytest.raises(DataError, match="did you mean 'sparsity'"):
        both.plot_against("sparsty")


# --- networks -------------------------------------------------------------------------------------------------------


def test_a_pruned_network_comes_with_its_masks_and_is_as_sparse_as_recorded(both: Results) -> None:
    model, masks = both.load_model({"prune.amount": 0.5, "seed": 1})
    weights = {name: weight for name, weight in model.state_dict().items() if name in masks}
    assert weights.keys() == masks.keys() != set()
    assert all(mask.dtype == torch.bool and mask.shape == weights[name].shape for name, mask in masks.items())
    kept = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    assert total - kept == round(0.5 * total)
    assert all(not weights[name][~mask].any() and weights[name][mask].all() for name, mask in masks.items())
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_a_trial_may_be_named_by_its_run_or_by_its_row(both: Results) -> None:
    frame = both.frame()
    row = frame[frame["prune.amount"] == 0.2].iloc[0]
    first = both.load_model(row).model.state_dict()
    second = both.load_model(row["run_id"]).model.state_dict()
    third = both.load_model({"experiment": "prune", "prune.amount": 0.2, "seed": row["seed"]}).model.state_dict()
    assert all(torch.equal(first[name], second[name]) and torch.equal(first[name], third[name]) for name in first)


def test_an_unpruned_network_has_no_masks(both: Results, folder: Path) -> None:
    assert both.load_model({"experiment": "dense", "seed": 0}).masks == {}
    [run, _] = all_runs(folder / "results", "dense")[:2]
    assert MASKS not in [file.path for file in client(folder / "results").list_artifacts(run.info.run_id)]


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ({"prune.amount": 0.3}, "there is no trial with prune.amount=0.3"),
        ({"amount": 0.2}, "there is no column 'amount' to choose a trial by (did you mean 'prune.amount'?)"),
        (
            {"prune.amount": 0.2},
            "2 trials have prune.amount=0.2: say which of prune prune.amount=0.2 seed=0, prune prune.amount=0.2 seed=1",
        ),
        ("0" * 32, f"there is no trial with run_id={'0' * 32}"),
    ],
)
def test_a_trial_that_is_not_the_only_one_is_an_error(both: Results, trial: object, message: str) -> None:
    with pytest.raises(DataError) as error:
        both.load_model(trial)
    assert str(error.value) == message


@pytest.fixture
def copied(both: Results, folder: Path, tmp_path: Path) -> Path:
    """Results to be tampered with."""
    root = tmp_path / "results"
    shutil.copytree(folder / "results", root)
    with sqlite3.connect(root / "mlflow.db") as database:
        places = [
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ]
        for table, column in places:
            change = f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)"
            database.execute(change, (str(folder / "results"), str(root)))
    database.close()
    return root


def run_ids(root: Path, amount: float) -> list[str]:
    frame = framework.results("prune", root=root).frame()
    return list(frame[frame["prune.amount"] == amount].sort_values("seed")["run_id"])


def graph(root: Path, run_id: str) -> Path:
    """The file of a run's network."""
    [output] = client(root).get_run(run_id).outputs.model_outputs
    location = client(root).get_logged_model(output.model_id).artifact_location
    return Path(location.removeprefix("file://"), "data", "model.pt2")


def test_a_network_that_is_not_the_recorded_one_is_refused_with_the_layer(copied: Path) -> None:
    [mine, _], [other, _] = run_ids(copied, 0.2), run_ids(copied, 0.5)
    shutil.copyfile(graph(copied, other), graph(copied, mine))
    found = framework.results("prune", root=copied)
    message = r"^prune prune\.amount=0\.2 seed=0: .*% of '(features\.\d|fc)' are zero, but .*% were recorded"
    with pytest.raises(DataError, match=message):
        found.load_model(mine)
    assert found.load_model(other).masks


def test_a_recorded_sparsity_that_was_changed_is_refused_with_the_layer(copied: Path) -> None:
    [run_id, _] = run_ids(copied, 0.2)
    client(copied).log_metric(run_id, "sparsity/fc", 0.9, step=1)
    with pytest.raises(DataError, match=r"of 'fc' are zero, but 90\.0000% were recorded"):
        framework.results("prune", root=copied).load_model(run_id)


def test_a_layer_that_the_network_does_not_have_is_refused(copied: Path) -> None:
    [run_id, _] = run_ids(copied, 0.2)
    client(copied).log_metric(run_id, "sparsity/head", 0.0, step=1)
    with pytest.raises(DataError, match="the network has no layer 'head', though its sparsity was recorded"):
        framework.results("prune", root=copied).load_model(run_id)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"fc.weight": torch.zeros(10, 128, dtype=torch.bool)}, "'fc.weight' has weights that are not zero where"),
        ({"head.weight": torch.ones(3, dtype=torch.bool)}, "a mask for 'head.weight', but no such weight"),
        ({"fc.weight": torch.ones(3, dtype=torch.bool)}, "a mask for 'fc.weight', but no such weight"),
    ],
)
def test_masks_that_do_not_belong_to_the_network_are_refused(
    masks: framework.Masks, message: str, copied: Path
) -> None:
    [run_id, _] = run_ids(copied, 0.2)
    # Not by MLflow, which remembers where it found the artifacts of a run of this id, in whatever store.
    place = client(copied).get_run(run_id).info.artifact_uri.removeprefix("file://")
    Path(place, MASKS).write_bytes(encode_masks(masks))
    with pytest.raises(DataError, match=message):
        framework.results("prune", root=copied).load_model(run_id)


# --- the page about it ---------------------------------------------------------------------------------------------

PROJECT = Path(__file__).parent.parent


def test_what_the_page_shows_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").symlink_to(PROJECT / "experiments")
    monkeypatch.chdir(tmp_path)
    page = (PROJECT / "docs" / "python.md").read_text()
    together: dict[str, object] = {}
    for block in re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(compile(block, "docs/python.md", "exec"), together)
    assert len(together["frame"]) == 6
    assert (tmp_path / "cost.pdf").read_bytes().startswith(b"%PDF")


# --- on Ray -------------------------------------------------------------------------------------------------------

TWICE = """
import sys, framework
for root in ("one", "two"):
    found = framework.run("dense.yaml", root=root, address=sys.argv[1], max_concurrent=1)
    print(root, found.frame()["status"].tolist())
"""


def test_it_runs_on_ray_too_and_again_in_one_process(folder: Path, cluster: str, tmp_path: Path) -> None:
    write(tmp_path, SPECS)
    command = [sys.executable, "-c", TWICE, cluster]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for root in ("one", "two"):
        assert f"{root} ['FINISHED', 'FINISHED']" in done.stdout
        assert len(all_runs(tmp_path / root, "dense")) == 3


def test_where_there_is_no_cluster_it_says_so_and_does_not_exit(folder: Path, tmp_path: Path) -> None:
    code = "import framework\ntry:\n    framework.run('dense.yaml', address='127.0.0.1:1')\n"
    code += "except framework.FrameworkError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.stdout.startswith("no Ray cluster answers at --address 127.0.0.1:1"), done.stderr
    assert issubclass(DataError, FrameworkError)
