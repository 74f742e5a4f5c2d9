"""Trials of files of code: under Ray where the files are not, kept with runs, and reproduced when they are gone."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from running import client, framework, here, trials, write

from framework import load_model
from framework._code import modules

FILES = {
    "nets/mine.py": """
        from dataclasses import dataclass
        from framework import Stage
        from layers import block
        from torch import nn
        from torch.nn import functional

        class Net(nn.Module):
            def __init__(self, shape, classes, width: int = 8):
                super().__init__()
                self.body, self.head = block(shape[0], width), nn.Linear(width, classes)

            def forward(self, images):
                return self.head(self.body(images).mean((2, 3)))

        def brier(outputs, targets, scale: float = 1.0):
            wanted = functional.one_hot(targets, outputs.shape[1])
            return scale * (outputs.softmax(1) - wanted).square().sum(1).mean()

        @dataclass(frozen=True)
        class Flip(Stage):
            fail: bool = False

            def run(self, trial):
                for weight in trial.weights().values():
                    weight.data.neg_()
                if self.fail:
                    1 / 0
        """,
    "nets/layers.py": """
        from torch import nn

        def block(channels, width):
            return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        """,
    "specs/mine.yaml": """
        name: mine
        model: {name: ../nets/mine.py:Net, width: 4}
        data: {name: digits, validation: 0.5}
        stages:
          - train: {steps: 3, batch_size: 16, loss: {name: ../nets/mine.py:brier, scale: 2}}
          - ../nets/mine.py:Flip
        """,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, FILES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_keeps_its_code_and_can_be_reproduced_when_the_files_are_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("run", "specs/mine.yaml", "--executor", "inline", monkeypatch=monkeypatch) == 0
    [run] = trials(folder / "mlruns", "mine").values()
    assert run.data.tags["framework.plugins"].startswith("../nets/mine.py, framework ")
    assert "framework run code/specs/spec.yaml" in run.data.tags["mlflow.note.content"]
    kept = {path: (folder / path).read_text() for path in ("nets/layers.py", "nets/mine.py")}
    shutil.rmtree(folder / "nets")
    shutil.rmtree(folder / "specs")
    modules._FINDER.known.clear()
    for name in [name for name in sys.modules if name.startswith("framework_code_")]:
        monkeypatch.delitem(sys.modules, name)

    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    network = load_model(f"runs:/{run.info.run_id}/model", uri)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)

    capsys.readouterr()
    arguments = ("reproduce", run.info.run_id, "-o", "again")
    assert here(*arguments, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "mine/seed=0 has code, which is not run before you have looked at it:" in told
    assert "again/code/nets/mine.py  (27 lines)" in told
    assert {path: (folder / "again" / "code" / path).read_text() for path in kept} == kept
    assert not (folder / "again" / "mlflow.db").exists()

    assert here(*arguments, "--trust-code", monkeypatch=monkeypatch) == 0
    assert "the same results as before: " in capsys.readouterr().out
    [again] = trials(folder / "again", "mine").values()
    assert again.data.metrics["test/accuracy"] == run.data.metrics["test/accuracy"]
    assert again.data.tags["framework.key"] == run.data.tags["framework.key"]

    (folder / "again" / "code" / "nets" / "mine.py").write_text("x = 1")
    assert here(*arguments, "--trust-code", monkeypatch=monkeypatch) == 1
    assert "nets/mine.py is there already, and is another one" in capsys.readouterr().err


def test_what_a_stranger_keeps_in_a_run_is_not_written_anywhere_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = "name: plain\nmodel: convnet\ndata: digits\nstages: [prune: {amount: 0.5}]\n"
    Path("plain.yaml").write_text(plain)
    assert here("run", "plain.yaml", "--executor", "inline", monkeypatch=monkeypatch) == 0
    [run] = trials(folder / "mlruns", "plain").values()
    assert here("reproduce", run.info.run_id, "-o", "one", monkeypatch=monkeypatch) == 0
    assert "the same results as before" in capsys.readouterr().out

    tracked = client(folder / "mlruns")
    # A spec without code of its own that names a file of the reader's machine.
    tracked.log_text(run.info.run_id, plain.replace("convnet", f"{folder}/nets/mine.py:Net"), "spec.yaml")
    assert here("reproduce", run.info.run_id, "-o", "two", monkeypatch=monkeypatch) == 0
    assert "has code, which is not run before you have looked at it" in capsys.readouterr().out
    tracked.log_text(run.info.run_id, "x", "code/setup.sh")
    assert here("reproduce", run.info.run_id, "-o", "three", monkeypatch=monkeypatch) == 1
    assert "plain/seed=0 keeps code/setup.sh, which is no file of code" in capsys.readouterr().err
    assert not (folder / "three").exists()


def test_a_failure_names_the_line_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = ["--set", "stages.1={../nets/mine.py:Flip: {fail: true}}"]
    (folder / "specs" / "x.py").touch()
    monkeypatch.chdir(folder / "specs")
    assert here("run", "mine.yaml", "--executor", "inline", *setting, monkeypatch=monkeypatch) == 1
    assert (
        "ZeroDivisionError: division by zero (at ../nets/mine.py:27; in stage 2, ../nets/mine.py:Flip "
        "(../nets/mine.py:19))" in " ".join(capsys.readouterr().out.split())
    )


OWN = {
    "own.py": """
        from dataclasses import dataclass
        from pathlib import Path
        from framework import Stage
        from framework.testing import tiny_data
        from source import Own

        def data(validation):
            for file in Path(__file__).parent.glob("*.py"):
                file.unlink()  # as on another machine
            return Own(tiny_data())

        @dataclass(frozen=True)
        class Check(Stage):
            def run(self, trial):
                assert not Path(__file__).exists()
                assert type(trial.data).__name__ == "Opened"
        """,
    "source.py": """
        import torch
        from framework import Classification, ImageData, Split

        class Opened(ImageData):
            pass

        class Own:
            shape, dtype, notes = (1, 8, 8), torch.float32, {}
            task = Classification(("a", "b", "c"))

            def __init__(self, data):
                self.data = data

            def open(self, device, augment):
                train = Split(torch.tensor(self.data.train_images), torch.tensor(self.data.train_labels))
                return Opened(train, None, train, torch.zeros(1), torch.ones(1))
        """,
    "own.yaml": """
        name: own
        model: convnet
        data: ./own.py:data
        stages: [train: {steps: 2}, ./own.py:Check]
        """,
}


def test_code_goes_to_workers_that_have_no_such_files(cluster: str, tmp_path: Path) -> None:
    write(tmp_path, OWN)
    done = framework("run", "own.yaml", "--address", cluster, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = trials(tmp_path / "mlruns", "own").values()
    assert run.info.status == "FINISHED"
    assert not list(tmp_path.glob("*.py"))
