"""``framework ui``."""

import subprocess
from pathlib import Path

from framework.tracking import default_uri, ui_command


def serve(root: Path, tracking_uri: str | None, port: int) -> int:
    """Serve the MLflow UI on the loopback interface until it is interrupted.

    Returns:
        The server's exit code.
    """
    print(f"MLflow UI: http://127.0.0.1:{port}   (Ctrl-C stops it)", flush=True)
    try:
        return subprocess.run(
            ui_command(tracking_uri or default_uri(root), root, "127.0.0.1", port), check=False
        ).returncode
    except KeyboardInterrupt:
        return 0
