"""Tables of numbers: read, divided, standardised; and a table goes through everything that images go through."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris

import framework
from framework import DataError, Multilabel, Regression
from framework_plugins.datasets import csv, parquet

ROWS = "a,b,flag,kind\n1,10,True,x\n3,10,False,y\n5,10,True,x\n"
TESTED = "kind,flag,b,a\ny,False,12,7\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "test.csv").write_text(TESTED)
    return tmp_path / "rows.csv", tmp_path / "test.csv"


def test_columns_are_standardised_by_the_rows_that_are_trained_on(files: tuple[Path, Path]) -> None:
    table = csv(files[0], "kind", test=files[1])
    assert (table.shape, table.notes["data.columns"], table.task.outputs) == ((3,), ("a", "b", "flag"), ("x", "y"))
    # a: mean 3, std sqrt(8/3); b: constant; flag: mean 2/3, std sqrt(2)/3.
    inputs, labels = table.splits["train"]
    a, flag = 2 / (8 / 3) ** 0.5, 1 / 2**0.5
    np.testing.assert_allclose(inputs, [[-a, 0, flag], [0, 0, -2 * flag], [a, 0, flag]], rtol=1e-6)
    assert (inputs.dtype, labels.dtype, labels.tolist()) == (np.float32, np.int64, [0, 1, 0])
    tested, given = table.splits["test"]  # its columns are found by their names
    np.testing.assert_allclose(tested, [[2 * a, 2, -2 * flag]], rtol=1e-6)
    assert given.tolist() == [1]
    assert table.notes["data.mean"] == pytest.approx((3, 10, 2 / 3))
    assert table.notes["data.std"] == pytest.approx(((8 / 3) ** 0.5, 1, 2**0.5 / 3))


def test_columns_are_chosen_and_ordered_by_name(files: tuple[Path, Path]) -> None:
    assert csv(files[0], "kind", test=files[1], columns=("flag", "a")).notes["data.columns"] == ("flag", "a")


def test_parquet_gives_what_csv_gives_and_holds_out_of_each_class(tmp_path: Path) -> None:
    frame = load_iris(as_frame=True).frame
    frame.to_csv(tmp_path / "iris.csv", index=False, sep=";")
    frame.to_parquet(tmp_path / "iris.parquet")
    one = csv(tmp_path / "iris.csv", "target", separator=";", validation=0.25)
    other = parquet(tmp_path / "iris.parquet", "target", validation=0.25)
    assert {name: np.bincount(y).tolist() for name, (_, y) in one.splits.items()} == {
        "train": [30, 30, 30],
        "test": [10, 10, 10],
        "validation": [10, 10, 10],
    }
    for name in one.splits:
        np.testing.assert_array_equal(one.splits[name][0], other.splits[name][0])
        np.testing.assert_array_equal(one.splits[name][1], other.splits[name][1])
    assert abs(one.splits["train"][0].mean(0)).max() < 1e-6


def test_each_pass_has_every_row_once_in_an_order_of_its_own(files: tuple[Path, Path], tmp_path: Path) -> None:
    pd.DataFrame({"x": range(9), "y": [0, 1, 0] * 3}).to_csv(tmp_path / "nine.csv", index=False)
    (tmp_path / "two.csv").write_text("x,y\n0,0\n1,1\n")
    data = csv(tmp_path / "nine.csv", "y", test=tmp_path / "two.csv").open(torch.device("cpu"), ())
    assert (data.shape, data.splits) == ((1,), ("train", "test"))
    batches = data.batches("train", 5, seed=2**63 + 1)
    assert len(batches) == 2
    first, again, second = ([x for x, _ in batches.epoch(number)] for number in (0, 0, 1))
    assert [len(x) for x in first] == [5, 4]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(torch.cat(first).sort(0).values, torch.cat(second).sort(0).values)
    assert len(data.batches("train", 4, seed=0)) == 2  # a single row is left out
    assert len(data.batches("train", 4)) == 3


def test_a_table_is_not_augmented(files: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"augment: crop, flip is for images of a framework\.Dataset: leave it out"):
        csv(files[0], "kind", test=files[1]).open(torch.device("cpu"), ("crop", "flip"))


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("", {}, " cannot be read as a table: No columns to parse from file"),
        ("a,kind\n", {}, " has no rows"),
        ("kind\nx\n", {}, " has no columns besides the label 'kind': there is no input"),
        (ROWS, {"label": "knid"}, " has no column 'knid' (did you mean 'kind'?)"),
        (ROWS, {"columns": ("a", "c")}, " has no column 'c' (valid: a, b, flag, kind)"),
        (ROWS, {"columns": ("kind",)}, ": 'kind' is the label, and cannot be an input as well"),
        (
            "a,kind\n1,x\n,y\n",
            {},
            ": column 'a' has no value in 1 of 2 rows (pandas reads NA, None and nan as no value too): fill them in, "
            "or leave these rows out",
        ),
        (
            "a,kind\nred,x\nblue,y\n",
            {},
            ": column 'a' holds 'red', which is no number: write it as numbers (such as 0 and 1 for each of its "
            "values), or name the others as columns: […]",
        ),
        ("a,kind\ninf,x\n1,y\n", {}, ": column 'a' holds infinite numbers"),
        (
            "a,kind\n1,0.5\n2,1\n",
            {},
            ": column 'kind' holds 0.5, which is no class: a label is text or a whole number",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_column(
    tmp_path: Path, text: str, parameters: dict[str, Any], message: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        csv(path, **{"label": "kind", **parameters})
    assert str(caught.value) == f"{path}{message}"


def test_a_class_too_rare_to_be_divided_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,kind\n1,x\n2,y\n3,y\n")
    with pytest.raises(DataError, match=r"rows\.csv: 0\.5 of its rows cannot be held out as test set: The least"):
        csv(tmp_path / "rows.csv", "kind", test=0.5)


def test_a_class_that_is_only_tested_on_is_refused(files: tuple[Path, Path]) -> None:
    files[1].write_text(TESTED.replace("y", "z"))
    with pytest.raises(DataError) as caught:
        csv(files[0], "kind", test=files[1])
    assert str(caught.value) == f"{files[1]}: kind is 'z', which no row to train on is (valid: x, y)"


def test_a_network_for_images_refuses_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_iris(as_frame=True).frame.to_csv(tmp_path / "iris.csv", index=False)
    data = f"{{name: csv, path: {tmp_path / 'iris.csv'}, label: target}}"
    text = f"name: iris\nmodel: convnet\ndata: {data}\nstages: [train: {{epochs: 1}}]"
    (tmp_path / "iris.yaml").write_text(text)
    results = framework.run(tmp_path / "iris.yaml", root=tmp_path / "results", executor="inline")
    assert list(results.frame()["status"]) == ["FAILED"]
    said = "model 'convnet' takes images (channels, height, width), and the data has inputs of shape (4,)"
    assert said in capsys.readouterr().out


# --- other targets than a class ------------------------------------------------------------------------------------

PATIENTS = "age,ill,cured,days,cost\n20,1,0,2,100\n30,0,0,0,0\n40,1,1,4,200\n50,1,0,6,300\n"


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    (tmp_path / "patients.csv").write_text(PATIENTS)
    return tmp_path / "patients.csv"


def test_quantities_are_standardised_and_measured_in_their_own_units(patients: Path) -> None:
    table = csv(patients, quantities=("days", "cost"), columns=("age",), test=patients, validation=0.0)
    assert table.task == Regression(("days", "cost"), (3.0, 150.0), (5**0.5, 12500**0.5))
    inputs, targets = table.splits["train"]
    assert (inputs.shape, targets.shape, targets.dtype) == ((4, 1), (4, 2), np.float32)
    np.testing.assert_allclose(
        targets * table.task.std + table.task.mean, [[2, 100], [0, 0], [4, 200], [6, 300]], atol=1e-5
    )
    assert table.notes["data.quantities_mean"] == (3.0, 150.0)
    assert table.notes["data.columns"] == ("age",)
    assert csv(patients, quantities=("days",)).notes["data.columns"] == ("age", "ill", "cured", "cost")


def test_labels_are_columns_of_0_and_1(patients: Path) -> None:
    table = csv(patients, labels=("ill", "cured"), test=patients)
    assert table.task == Multilabel(("ill", "cured"))
    assert table.splits["test"][1].tolist() == [[1, 0], [0, 0], [1, 1], [1, 0]]
    assert table.notes["data.columns"] == ("age", "days", "cost")
    with pytest.raises(DataError, match="column 'days' is a label, and holds something other than 0 and 1"):
        csv(patients, labels=("ill", "days"))


@pytest.mark.parametrize(
    "given", [{}, {"label": "ill", "labels": ("ill",)}, {"labels": ("ill",), "quantities": ("days",)}]
)
def test_a_table_has_targets_of_one_kind(patients: Path, given: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"give one of label \(a column of classes\), labels and quantities"):
        csv(patients, **given)
