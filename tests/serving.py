"""What a group's tracking server is made of: PostgreSQL, MLflow's server, a proxy; all on the loopback interface."""

import os
import pwd
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from running import environment, free_port, wait_for

PASSWORD = "correct horse"


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are."""
    # Debian keeps them out of the PATH.
    folders = [Path(folder) for folder in os.get_exec_path()] + sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    programs = ("createdb", "initdb", "pg_isready", "postgres")
    return next((folder for folder in reversed(folders) if all((folder / name).exists() for name in programs)), None)


class Server:
    """A process that serves at a port of its own, and may be killed and started again there.

    Attributes:
        port: on 127.0.0.1.
        log: what it has said.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.log = folder, free_port(), folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, command: list[str], ready: Callable[[], bool], **options: Any) -> None:
        """Start it, and wait until it is ready."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, **options
            )
        self._process = process

        def settled() -> bool:
            assert process.poll() is None, self.log.read_text()
            return ready()

        wait_for(settled)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, as a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            self._process.wait(30)


class Postgres(Server):
    """PostgreSQL, whose user is ``postgres``; it does not run as root."""

    def __init__(self, programs: Path) -> None:
        # Not pytest's folder, which is nobody else's to enter, and too long for a socket's name.
        super().__init__(Path(tempfile.mkdtemp(prefix="postgres-")))
        self._programs, self._other = programs, {}
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            self._other = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (self.folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "scram-sha-256", "--pwfile=secret", "--no-sync")

    def make_database(self) -> None:
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "mlflow")

    def _run(self, program: str, *arguments: str, check: bool = True) -> bool:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, **self._other
        )
        assert not check or done.returncode == 0, done.stderr
        return done.returncode == 0

    def _environment(self) -> dict[str, str]:
        return environment(PGPASSWORD=PASSWORD, LC_ALL="C.UTF-8")

    def start(self) -> None:
        command = [str(self._programs / "postgres"), "-D", "data", "-k", str(self.folder), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=20"]
        ask = ("pg_isready", "-h", "127.0.0.1", "-p", str(self.port))
        self.launch(command, lambda: self._run(*ask, check=False), env=self._environment(), **self._other)

    def remove(self) -> None:
        # Its own way of a fast end; killed, it would leave its workers a while.
        self.kill(signal.SIGQUIT)
        shutil.rmtree(self.folder)


class Tracking(Server):
    """MLflow's tracking server, which also keeps the files.

    Attributes:
        uri: of it.
        database: the URI of its database.
    """

    def __init__(self, database: str, folder: Path) -> None:
        super().__init__(folder)
        self.uri, self.database = f"http://127.0.0.1:{self.port}", database

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.database]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.launch(command, self._answers, env=environment(PGPASSWORD=PASSWORD, **settings))

    def _answers(self) -> bool:
        with suppress(OSError):
            urlopen(f"{self.uri}/health", timeout=5).close()
            return True
        return False


class Proxy(ThreadingHTTPServer):
    """Stands before a tracking server.

    Args:
        server: it.
        prefix: under which path the server is found; everything else is not.
        authorization: what a request must carry.
        certificate: a file with a certificate and its key, to speak TLS.

    Attributes:
        uri: of the server as found here.
        loses: says by method and path whether a request is passed on, and its answer lost.
        seen: method and path of all requests.
        down: none is passed on, and none answered.
    """

    daemon_threads = True

    def __init__(
        self, server: Tracking, *, prefix: str = "", authorization: str = "", certificate: Path | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind, self.prefix, self.authorization = ("127.0.0.1", server.port), prefix, authorization
        self.uri = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_address[1]}{prefix}"
        self.loses: Callable[[str, str], bool] = lambda method, path: False
        self.seen: list[tuple[str, str]] = []
        self.down = False
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        super().__exit__(*error)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us is what a test is about."""


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def pass_on(self) -> None:
        if self.server.down:
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # A client that takes us for its proxy says the whole URL.
        path = self.path.removeprefix("http://" + urlsplit(self.path).netloc) if "://" in self.path else self.path
        self.server.seen.append((self.command, path.partition("?")[0]))
        if self.headers.get("Authorization", "") != self.server.authorization:
            self.answer(401, b"who are you?")
            return
        if not path.startswith(self.server.prefix + "/"):
            self.answer(404, b"nothing here")
            return
        own = ("host", "connection", "authorization")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in own}
        connection = HTTPConnection(*self.server.behind, timeout=60)
        try:
            connection.request(self.command, path.removeprefix(self.server.prefix), body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if self.server.loses(self.command, path.partition("?")[0]):
            self.close_connection = True
        else:
            self.answer(answer.status, content, answer.getheader("Content-Type", ""))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 - as http.server calls them

    def answer(self, status: int, content: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Nobody reads it."""
