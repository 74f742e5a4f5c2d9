"""`framework ui` in a browser."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from running import SCRIPT, Study, client, environment, framework, free_port, parents, trials, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def server(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a UI of the study's results."""
    port = free_port()
    log = tmp_path_factory.mktemp("ui") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [SCRIPT, "ui", "--port", str(port), "--root", "results"],
            cwd=study.folder,
            env=environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return True
        return False

    try:
        wait_for(answers)
        assert f"http://127.0.0.1:{port}" in log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def listening(port: int) -> set[str]:
    """The local addresses, in hex as Linux tells them, on which somebody listens on a port."""
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                addresses.add(address)
    return addresses


def test_the_server_listens_on_the_loopback_interface_only(server: str) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux tells who listens")
    assert listening(int(server.rpartition(":")[2])) == {"0100007F"}


def test_the_server_serves_these_runs(server: str, study: Study) -> None:
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name=study") as answer:
        experiment = json.load(answer)["experiment"]
    assert experiment["experiment_id"] == client(study.root).get_experiment_by_name("study").experiment_id


def page(url: str, expected: Sequence[str], folder: Path) -> str:
    """What a browser shows of a page; on a busy machine it may take it for complete too early, so it looks again."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--disable-background-networking", "--no-first-run", "--window-size=1400,900"]
    command += [f"--user-data-dir={folder}", "--virtual-time-budget=60000", "--dump-dom", url]
    for _ in range(4):
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        if all(text in shown for text in expected):
            break
    return shown


@browser
def test_a_browser_shows_the_invocation_and_a_trial(server: str, study: Study, tmp_path: Path) -> None:
    [parent] = parents(study.root, "study")
    run = trials(study.root, "study")["prune.amount=0.5 seed=1"]
    experiment = f"{server}/#/experiments/{run.info.experiment_id}"
    expected = [parent.info.run_name, "Training runs"]
    shown = page(f"{experiment}/runs", expected, tmp_path)
    assert [text for text in expected if text not in shown] == []
    expected = ["prune.amount=0.5 seed=1", "val/accuracy", "sparsity", "stages.1.prune.amount"]
    shown = page(f"{experiment}/runs/{run.info.run_id}", expected, tmp_path)
    assert [text for text in expected if text not in shown] == []


def test_without_results_and_on_a_taken_port_it_is_one_sentence(server: str, study: Study, tmp_path: Path) -> None:
    done = framework("ui", "--port", str(free_port()), folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: there are no results in {tmp_path / 'mlruns'} yet: name their folder with --root\n"
    assert list(tmp_path.iterdir()) == []
    port = server.rpartition(":")[2]
    done = framework("ui", "--port", port, "--root", "results", folder=study.folder)
    assert done.returncode == 1
    assert done.stderr == (f"error: port {port} cannot be used (Address already in use): choose another with --port\n")
