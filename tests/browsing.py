"""A real browser, told what to do by WebDriver's protocol."""

import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from running import free_port, wait_for

DRIVER = shutil.which("chromedriver")
_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
]


class Browser:
    """One window.

    Args:
        session: the URL of WebDriver's session.
    """

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go to a page, loaded anew."""
        self._post("url", url="about:blank")
        self._post("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function in JavaScript returns."""
        return self._post("execute/sync", script=script, args=arguments)

    def wait(self, script: str, *arguments: Any, seconds: float = 60.0) -> Any:
        """What it returns once that is true, which it must become."""
        found: list[Any] = []

        def true() -> bool:
            found.append(self.run(script, *arguments))
            return bool(found[-1])

        wait_for(true, seconds)
        return found[-1]

    def text(self, *expected: str) -> str:
        """What can be read on the page once all of this can."""
        everything = "const text = document.body.innerText; return arguments[0].every(t => text.includes(t)) && text"
        return str(self.wait(everything, expected))

    def click(self, text: str) -> None:
        """Click on what has this text, or is called so."""
        element = self.wait(
            """return [...document.querySelectorAll('button, a, [role=button], [role=menuitem]')]
               .find(e => e.innerText.trim() == arguments[0] || e.ariaLabel == arguments[0])""",
            text,
        )
        [identity] = element.values()
        self._post(f"element/{identity}/click")

    def screenshot(self, file: Path) -> None:
        """What is seen, as a PNG."""
        with urllib.request.urlopen(f"{self._session}/screenshot", timeout=60) as answer:
            file.write_bytes(base64.b64decode(json.load(answer)["value"]))

    def _post(self, command: str, **body: Any) -> Any:
        return post(f"{self._session}/{command}", body)


@contextmanager
def browsing(folder: Path, size: tuple[int, int] = (1500, 1000)) -> Iterator[Browser]:
    """A new browser with a window of this width and height, and its profile in a folder."""
    assert DRIVER
    port = free_port()
    with (folder / "chromedriver.log").open("w") as log:
        process = subprocess.Popen([DRIVER, f"--port={port}"], stdout=log, stderr=log)
    driver = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{driver}/status"), 60)
        options = {"args": [*_ARGUMENTS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder / 'profile'}"]}
        session = post(f"{driver}/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        url = f"{driver}/session/{session['sessionId']}"
        try:
            yield Browser(url)
        finally:
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60).close()
    finally:
        process.terminate()
        process.wait(30)


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
