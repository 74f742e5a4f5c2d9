"""A run whose tracking server goes away, and runs whose store is not on this machine."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from running import (
    SCRIPT,
    environment,
    framework,
    framework_started,
    free_port,
    here,
    history,
    stages_ended,
    trials,
    wait_for,
    write,
)

from framework._store import Store

SPEC = {
    "waiting.yaml": """
        name: waiting
        model: convnet
        data: {name: digits, validation: 0.5}
        defaults: {train: {epochs: 2, batch_size: 64}}
        stages:
          - train
          - wait: {path: gate.flag}
          - prune: {amount: 0.5}
          - train
        """,
    "plain.yaml": """
        name: plain
        model: convnet
        data: {name: digits, validation: 0.5}
        stages:
          - train: {epochs: 1, batch_size: 64}
          - prune: {amount: 0.5}
        """,
}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a tracking server on the results, always at the same port."""
    port, started = free_port(), []

    def go() -> subprocess.Popen[bytes]:
        command = [SCRIPT, "ui", "--root", "results", "--port", str(port)]
        with (tmp_path / "server.txt").open("a") as log:
            started.append(
                subprocess.Popen(
                    command, cwd=tmp_path, env=environment(), stdout=log, stderr=log, start_new_session=True
                )
            )

        def answers() -> bool:
            with suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                return True
            return False

        wait_for(answers)
        return started[-1]

    go.uri = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
    yield go
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def test_what_a_lost_tracking_server_did_not_get_is_delivered_next_time(
    serve: Any, gate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, SPEC)
    monkeypatch.chdir(tmp_path)
    # The server needs a database to serve.
    assert here("run", "plain.yaml", "--root", "results", "--executor", "inline", monkeypatch=monkeypatch) == 0
    server = serve()
    command = ("run", "waiting.yaml", "--root", "results", "--tracking-uri", serve.uri, "--executor", "inline")
    # By default it is waited for: see test_servers_lost.py.
    patient = {"PYTHONPATH": gate, "FRAMEWORK_TRACKING_PATIENCE": "1"}
    run = framework_started(*command, folder=tmp_path, output=tmp_path / "told.txt", **patient)
    before = stages_ended(Store("results/stages"))
    wait_for(lambda: stages_ended(Store("results/stages")) > before)
    os.killpg(server.pid, 9)
    server.wait()
    (tmp_path / "gate.flag").touch()
    assert run.wait(120) == 1
    lines = (tmp_path / "told.txt").read_text().splitlines()
    assert lines[-1].startswith(f"error: the tracking store {serve.uri} refuses: ")
    assert not [line for line in lines if "Traceback" in line]
    # The training went on to its end.
    assert stages_ended(Store("results/stages")) == before + 4

    serve()
    again = framework(*command, folder=tmp_path, PYTHONPATH=gate)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "stages: 0 executed, 0 shared, 4 restored; epochs: 0 executed, 0 shared, 4 restored" in again.stdout
    ((_, found),) = trials(tmp_path / "results", "waiting").items()
    assert found.info.status == "FINISHED"
    assert [epoch for epoch, _ in history(tmp_path / "results", found, "train/loss")] == [1, 2, 3, 4]
    assert [epoch for epoch, _ in history(tmp_path / "results", found, "sparsity")] == [1, 2, 2, 2, 3, 4, 4]


def test_a_store_in_a_bucket_serves_machines_that_share_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    account = {"ACCESS_KEY_ID": "tester", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}
    for name, value in {**account, "ENDPOINT_URL": f"http://{host}:{port}", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    try:
        client.create_bucket(Bucket="shared")
        write(tmp_path, SPEC)
        monkeypatch.chdir(tmp_path)
        options = ("--store", "s3://shared/stages", "--executor", "inline")
        for root, told in (("one", "2 executed, 0 shared, 0 restored"), ("other", "0 executed, 0 shared, 2 restored")):
            assert here("run", "plain.yaml", "--root", root, *options, monkeypatch=monkeypatch) == 0
            assert f"stages: {told};" in capsys.readouterr().out
            assert not (tmp_path / root / "stages").exists()
        assert here("store", "size", "--store", "s3://shared/stages", monkeypatch=monkeypatch) == 0
        # Both stages, and the end of training, from which a longer one would go on.
        assert "whole:        3 " in capsys.readouterr().out
    finally:
        client.close()
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
