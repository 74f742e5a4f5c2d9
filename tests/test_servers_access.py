"""Who may use a tracking server, and the ways to it."""

import json
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import here, write
from served import SPECS, needs_server, runs_of
from serving import Proxy

from framework import load_model
from framework._errors import TrackingError
from framework._tracking import Reader

pytestmark = needs_server


BASIC = "Basic dXNlcjpzM2NyZXQ="  # user:s3cret
SAY = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN$"


@pytest.mark.parametrize(
    ("wanted", "given", "wrong"),
    [
        (
            BASIC,
            {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": "s3cret"},
            {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": "wr0ng"},
        ),
        ("Bearer t0ken", {"MLFLOW_TRACKING_TOKEN": "t0ken"}, {"MLFLOW_TRACKING_TOKEN": "wr0ng"}),
    ],
)
def test_credentials_are_those_of_mlflows_own_variables(
    wanted: str,
    given: dict[str, str],
    wrong: dict[str, str],
    served: tuple[Path, str],
    pass_by: Callable[..., Proxy],
    server_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy = pass_by(authorization=wanted)
    monkeypatch.chdir(served[0])
    command = ("run", "served.yaml", "--executor", "inline", "--root", "results", "--tracking-uri", proxy.uri)
    for settings in ({}, wrong):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        assert here(*command, monkeypatch=monkeypatch) == 1
        told = capsys.readouterr()
        said = f"error: the tracking store {proxy.uri} wants credentials that it knows: {SAY}"
        assert told.err == said.replace("$", "\n")
        assert "wr0ng" not in told.out
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert here(*command, monkeypatch=monkeypatch) == 0
    run = runs_of(server_client, "served")[1]["prune.amount=0.5 seed=1"]
    load_model(f"runs:/{run.info.run_id}/model", tracking_uri=proxy.uri)


def test_credentials_in_the_uri_are_shown_nowhere(
    pass_by: Callable[..., Proxy],
    server_client: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy = pass_by(authorization=BASIC)
    monkeypatch.chdir(tmp_path)
    secret = proxy.uri.replace("//", "//user:s3cret@")
    write(tmp_path, {"secret.yaml": SPECS["served.yaml"].replace("served", "secret").replace("[0, 1]", "[0]")})
    options = ("--set", "stages.1.prune.amount=0.5", "--executor", "inline", "--tracking-uri", secret)
    assert here("run", "secret.yaml", *options, monkeypatch=monkeypatch) == 0
    assert "s3cret" not in "".join(capsys.readouterr())
    parent, trials = runs_of(server_client, "secret")
    for run in (parent, *trials.values()):
        assert "s3cret" not in json.dumps([run.data.tags, run.data.params])
    (run,) = trials.values()
    load_model(f"runs:/{run.info.run_id}/model", tracking_uri=secret)
    for uri in (secret.replace("s3cret", "wr0ng"), secret.replace(f":{proxy.server_address[1]}", ":9")):
        with pytest.raises(TrackingError) as error:
            Reader(uri).experiments()
        assert proxy.uri.rpartition(":")[0] in str(error.value)
        assert not {"user:", "s3cret", "wr0ng"} & set(str(error.value).replace("@", " ").split("//"))


def test_a_server_under_a_path_and_behind_a_proxy_is_reached(
    served: tuple[Path, str], pass_by: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch, server_client: Any
) -> None:
    proxy = pass_by(prefix="/group/mlflow")
    run = runs_of(server_client, "served")[1]["prune.amount=0.5 seed=1"]
    for uri in (proxy.uri, proxy.uri + "/"):
        reader = Reader(uri)
        assert "served" in reader.experiments()
        assert reader.file(run.info.run_id, "spec.yaml")
    proxy = pass_by()
    monkeypatch.setenv("http_proxy", proxy.uri)
    assert "served" in Reader("http://tracking.invalid").experiments()
    assert ("GET", "/health") in proxy.seen


def test_a_certificate_is_trusted_as_mlflow_is_told_to(
    served: tuple[Path, str], pass_by: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    proxy = pass_by(certificate=certificate)
    with pytest.raises(TrackingError, match=r"refuses: .*certificate verify failed"):
        Reader(proxy.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    assert "served" in Reader(proxy.uri).experiments()
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with pytest.warns(match="Unverified HTTPS request"):
        assert "served" in Reader(proxy.uri).experiments()


def self_signed(folder: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1."""
    path = folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "cert"), "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    path.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    ssl.create_default_context().load_verify_locations(path)
    return path
